"""Every key of a run, with the released code's values at CUB size.

Batch sizes are global (all devices together), durations are in steps. `configs.Key` says what else
can be declared of a key: its range, its choices, what follows from it, whether it may change
between two starts of a run. Keys of a section without a `Key` decide what their section decides.

A run that is older than a key counts as one with the key's value here, so that a new key's value
is what the program did before, or `before` says what that was.
"""

import functools

import ml_collections

from attngan_jax.configs import Key, Section

Free = functools.partial(Key, decides="nothing")  # scores, speed or files alone
Width = functools.partial(Key, at_most=2**16)  # channels, or what a vector has of numbers
SIDE = 2**12  # pixels of the largest images

# By which a checkpoint of DAMSM can be chosen: R@K of retrieval, or the mean of both R@1.
DAMSM_SCORES = (
    "",
    "eval/retrieval_r1",
    *(f"eval/{way}_r{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)),
)

# And one of the generator: the latter two where there are judges, for procedural birds.
GENERATOR_SCORES = (
    "",
    "eval/r_precision",
    "eval/kid_judge",  # lower is better
    "eval/r_precision_independent",
)


_FAMILIES = "attngan_jax.evaluation.input_rules:FAMILIES"


def get_config() -> ml_collections.ConfigDict:
    """The released code's CUB settings; the base of every other config."""
    config = ml_collections.ConfigDict()
    for name, key in SCHEMA.items():
        section, _, last = name.rpartition(".")
        if section and section not in config:
            config[section] = ml_collections.ConfigDict()
        (config[section] if section else config)[last] = key.value
    return config


def _config() -> Section:
    config = Section(decides="damsm")
    config.name = Key("default", decides="attngan")  # the workdir defaults to runs/<name>
    config.seed = Key(0, at_least=0, at_most=2**32 - 1)  # everything random follows from it
    # Of the networks; "bfloat16" on TPU and GPU.
    config.compute_dtype = Key("float32", choices=("float32", "bfloat16", "float16"))
    # Whose layout the generator has (attngan_jax/tpu_layout.py); "": that of the devices.
    config.platform = Free("", choices=("", "cpu", "gpu", "tpu"))
    # Devices that a CPU is split into to train, at most one for each core; they share a batch.
    config.cpu_devices = Free(1, at_most=256)
    # XLA executables of training; "" for none. Commands that run a model keep theirs there by
    # default, or where JAX_COMPILATION_CACHE_DIR says.
    config.compilation_cache_dir = Free("~/.cache/attngan_jax", path="any")
    config.log_every_steps = Free(50)  # means of the losses since the last line
    config.per_device_batch_norm = False  # True: statistics of each device's share alone
    config.per_device_negatives = False  # True: DAMSM's negatives are of each device's share alone
    # What the backward pass computes again, to save memory.
    config.remat = Free("none", choices=("none", "layers", "networks"))

    config.data = _data()
    config.procedural_birds = _procedural_birds()
    config.folder = _folder()
    config.text_encoder = _text_encoder()
    config.image_encoder = _image_encoder()
    config.damsm = _damsm()
    config.generator = _generator()
    config.discriminator = _discriminator()
    config.attngan = _attngan()
    config.eval = _eval()
    return config


def _data() -> Section:
    """Which records, and how they become batches."""
    data = Section(decides="damsm")
    data.dataset = "procedural_birds"  # which records; see attngan_jax/data/datasets.py
    data.data_dir = Free("data", path="any")  # where they are built and read; or gs://BUCKET/PATH
    # This machine's copies of datasets on gs://.
    data.cache_dir = Free("~/.cache/attngan_jax/data", path="local")
    # Folder to build them from, for datasets that need one; as prepare's --source.
    data.source = Free("", path="local")
    data.max_left_out = Free(0.01, at_most=1)  # share of unusable images; with more the build stops
    # What a word is: the released code's rule keeps ASCII alone; or "unicode", all languages.
    data.tokenizer = Key("ascii", choices=("ascii", "unicode"))
    data.min_word_count = 1  # words that occur less often in the captions get no number
    data.captions_per_image = 10  # the first so many of a record are used
    data.max_words = Key(18, decides="attngan", at_most=10**4)  # T in training the generator
    # T in training DAMSM.
    data.damsm_max_words = Key(18, at_most=10**4, before=lambda run: run["data"]["max_words"])
    data.eval_max_words = Key(25, at_most=10**4)  # T in evaluation
    # Of a longer caption, order kept; or its "first" words; or a "window", random words in a row.
    data.overflow_rule = Key("random_subset", choices=("random_subset", "first", "window"))
    data.crop_to_box = True  # CUB's square crop around the bird, where a record has a box
    # The shorter side is resized to this times the size, then cropped.
    data.resize_ratio = Key(76 / 64, at_least=1, at_most=16)
    data.random_flip = True  # left and right, in training
    # Processes that decode; 0: in the training process.
    data.num_workers = Free(0, at_least=0, at_most=1_024)
    data.read_threads = Free(1, at_most=1_024)  # that decode in each of these processes
    data.prefetch_batches = Free(4, at_most=1_024)  # made ahead in each of these processes
    return data


def _procedural_birds() -> Section:
    """Birds that are drawn from a seed."""
    birds = Section(decides="damsm")
    birds.image_size = Key(64, at_least=8, at_most=SIDE)  # side of the images
    birds.num_species = 900  # of train and test together
    birds.test_species = 100  # never drawn in training
    birds.images_per_species = 10  # in train and in test
    # Of the species, the images and the sentences.
    birds.seed = Key(1, at_least=0, at_most=2**32 - 1)
    return birds


def _folder() -> Section:
    """Images of one's own."""
    folder = Section(decides="damsm")
    folder.title = "pictures"  # of a collection of one's own; another title, another dataset
    # Of the images that don't say their split.
    folder.test_fraction = Key(0.1, above=0, at_most=0.99)
    folder.seed = Key(1, at_least=0, at_most=2**32 - 1)  # of the choice of these
    return folder


def _text_encoder() -> Section:
    """DAMSM's network for captions."""
    text = Section(decides="damsm")
    # Or "gru".
    text.rnn_type = Key("lstm", registry="attngan_jax.models.text_encoder:TEXT_ENCODERS")
    text.forget_bias = Key(0.0, at_least=-100)  # added to the LSTM's forget gates at the start
    text.embedding_limit = Key(0.1, above=0)  # the word embedding starts from U(-limit, limit)
    # States; or "mean" or "max" of the words' features.
    text.sentence_pooling = Key("last", choices=("last", "mean", "max"))
    text.word_dim = Width(300)  # of the word embedding
    text.embedding_dim = Width(256)  # D, both directions together
    text.dropout_rate = Key(0.5, at_most=0.99)  # on the word embedding
    return text


def _image_encoder() -> Section:
    """DAMSM's network for images."""
    image = Section(decides="damsm")
    # Or "cnn", a small one for small images.
    image.trunk = Key("inception_v3", choices=("inception_v3", "cnn"))
    # File of ImageNet's Inception-v3, or "random"; the cnn trunk needs none.
    image.weights = Key("", path="any")
    image.cnn_dim = Width(32)  # channels of the cnn trunk's first layer
    # Further convolutions at each of its resolutions.
    image.cnn_depth = Key(0, at_least=0, at_most=100)
    image.antialias = False  # the cnn trunk smooths before it halves the image, in place of strides
    image.image_size = Key(299, at_least=16, at_most=SIDE)  # that the encoder is pretrained at
    return image


def _damsm() -> Section:
    """Stage 1: the two encoders learn to match."""
    damsm = Section(decides="damsm")
    # Global; every other example's caption is a negative; the paper has 50.
    damsm.batch_size = Key(48, at_least=2)
    damsm.num_train_steps = Key(110_600, may_grow=True)  # 600 epochs of 8,855 images
    damsm.learning_rate = 2e-3  # of both encoders, at the start
    damsm.decay_rate = 0.98  # of the learning rate, every decay_steps, down to a tenth
    damsm.decay_steps = 184  # an epoch
    damsm.adam_b1 = Key(0.5, at_most=0.999999)  # Adam's decay of the mean of gradients
    damsm.adam_b2 = Key(0.999, at_most=0.999999)  # Adam's decay of their squares
    damsm.max_grad_norm = 0.25  # of the text encoder's gradient
    damsm.gamma1 = 4.0  # Eq. 9; the paper has 5
    damsm.gamma2 = 5.0  # Eq. 10
    damsm.gamma3 = 10.0  # Eq. 11
    # What the image encoder sees in training, its own and stage 2's, is moved by up to this share
    # of the side, ...
    damsm.view_shift = Key(0.0, at_most=1)
    damsm.view_blur = Key(0.0, at_most=16)  # ... blurred by up to so many passes of (1, 2, 1) / 4
    damsm.view_noise = 0.0  # ... with noise of up to this deviation, of [-1, 1]
    # Copies of each caption with one word exchanged (data/swapped_words.py), further negatives of
    # its image; in stage 2 as well.
    damsm.swapped_captions = Key(0, at_least=0)
    damsm.accumulation_steps = 1  # microbatches of a batch, in the image encoder
    damsm.checkpoint_every_steps = Free(2_000)  # a killed run loses at most so many
    # The score that chooses stage 2's encoders; "": the newest ones.
    damsm.best_checkpoint = Key("eval/retrieval_r1", before="", choices=DAMSM_SCORES)
    damsm.retrieval_pairs = 1_000  # pairs of the test split that it is measured on
    return damsm


def _generator() -> Section:
    """The generator, Eq. 1."""
    generator = Section(decides="attngan")
    generator.num_stages = Key(3, at_most=8)  # m
    # Of the first stage's image; each further stage doubles it.
    generator.base_size = Key(64, choices=tuple(2**power for power in range(3, 12)))
    generator.gf_dim = Width(32)  # channels of the hidden features at every stage
    generator.z_dim = Width(100)  # of the noise z
    generator.condition_dim = Width(100)  # of conditioning augmentation's sample
    # In each refinement stage; COCO has 3.
    generator.num_residual_blocks = Key(2, at_least=0, at_most=100)
    generator.attention = True  # False: the sentence alone in every stage
    generator.single_image = False  # True: AttnDCGAN, one image, at the last stage
    generator.legacy_mask = False  # True: the released code's tiled mask, for its weights
    # Side up to which features are upsampled bilinearly, and beyond it by nearest neighbour.
    generator.bilinear_up_to = Key(
        0, at_least=0, choices=(0, *(2**power for power in range(3, 12)))
    )
    return generator


def _discriminator() -> Section:
    """The discriminators: one for each stage, and maybe one of regions."""
    discriminator = Section(decides="attngan")
    discriminator.df_dim = Width(64)  # channels after the first convolution
    # Of any layer; the width doubles while the image is halved. 0: no limit, as the released code.
    discriminator.max_width = Key(0, at_least=0)
    # Spectral normalisation in place of BatchNorm: the kernels', of all layers but the heads.
    discriminator.norm = Key("batch", choices=("batch", "spectral"))
    # True: one discriminator more, which sees DAMSM's region features of the last stage's image.
    discriminator.regions = False
    return discriminator


def _attngan() -> Section:
    """Stage 2: the generator against its discriminators."""
    gan = Section(decides="attngan")
    gan.batch_size = Key(20, at_least=2)  # global; mismatched pairs need a second example
    # 600 epochs of 8,855 images. The cosine below is that of the latest number.
    gan.num_train_steps = Key(265_800, may_grow=True)
    gan.generator_learning_rate = 2e-4  # at the start
    gan.discriminator_learning_rate = 2e-4  # of all of them, at the start
    # Both fall to this by a cosine; 1: constant.
    gan.final_learning_rate_fraction = Key(1.0, at_most=1)
    gan.adam_b1 = Key(0.5, at_most=0.999999)  # as in stage 1
    gan.adam_b2 = Key(0.999, at_most=0.999999)  # as in stage 1
    gan.ema_decay = Key(0.999, at_most=1)  # of the generator's parameters
    gan.damsm_weight = 5.0  # lambda, Eq. 3
    # Eq. 11, in this stage's DAMSM loss.
    gan.gamma3 = Key(10.0, before=lambda run: run["damsm"]["gamma3"])
    # True: at most one of a caption's damsm.swapped_captions has another colour in this stage, if
    # the caption has other words to exchange.
    gan.few_swapped_colors = False
    # Of the logits; see losses/adversarial.py.
    gan.adversarial_loss = Key("bce", registry="attngan_jax.losses.adversarial:ADVERSARIAL_LOSSES")
    # Its weight, in the loss of every discriminator; 0: none. It is taken without microbatches.
    gan.gradient_penalty = 0.0
    # Of the gradient at real images as discriminators see them; see losses/adversarial.py.
    gan.gradient_penalty_kind = Key("r1", registry="attngan_jax.losses.adversarial:PENALTIES")
    gan.gradient_penalty_every = 16  # steps, with so many times the weight
    # Discriminators of images see them moved by up to this share of the side, ...
    gan.augment_shift = Key(0.0, at_most=1)
    gan.augment_cutout = Key(0.0, at_most=1)  # ... and without a square of this share of the side
    gan.kl_weight = 1.0  # of conditioning augmentation's KL term
    gan.accumulation_steps = 1  # microbatches of a batch, in each network
    gan.checkpoint_every_steps = Free(2_000)  # a killed run loses at most so many
    # The score by which the checkpoint that is used is the best; "": the newest.
    gan.best_checkpoint = Free("", choices=GENERATOR_SCORES)
    # Images that this is measured on, of the test split, at every checkpoint.
    gan.scored_images = Free(500)
    gan.sample_every_steps = Free(2_000)  # images of fixed captions for the report
    return gan


def _eval() -> Section:
    """The scores, and how they are taken."""
    evaluation = Section(decides="nothing")
    evaluation.batch_size = 64  # global; changes no number
    evaluation.num_images = 30_000  # pairs of test caption and generated image
    evaluation.num_candidates = Key(100, at_least=2)  # 1 true caption and 99 mismatching ones
    evaluation.fold_size = 3_000  # images of a fold; the deviation is over folds
    # Of another class, where there are classes; or "image".
    evaluation.mismatch = Key("class", choices=("class", "image"))
    evaluation.with_replacement = False  # whether a mismatching caption may be drawn twice
    # "paper" or "dm_gan": the five above as that paper has them (docs/evaluation.md).
    evaluation.protocol = Key("own", choices=("own", "paper", "dm_gan"))
    evaluation.inception_splits = 10  # of the Inception Score
    # File of `convert classifier`; "": no score.
    evaluation.inception_score_weights = Key("", path="any")
    # By which input rule, a name of input_rules.FAMILIES; "": that named as the weights are.
    evaluation.inception_score_family = Key("", registry=_FAMILIES)
    # The same, for FID and KID; "": in DAMSM's features alone.
    evaluation.fid_weights = Key("", path="any")
    # By which input rule, as inception_score_family.
    evaluation.fid_family = Key("", registry=_FAMILIES)
    # An .npz with mu and sigma that FID compares with; "": statistics of real images, as follows.
    evaluation.fid_reference = Key("", path="any")
    # Whose real images they compare with; or "train".
    evaluation.reference_split = Key("test", choices=("train", "test"))
    evaluation.kid_images = 5_000  # of either kind at most, at even distances
    # Steps of the part segmenter, where judges are trained (attngan_jax.train_judges).
    evaluation.part_judge_steps = 500
    # Of the attribute classifier there; of the caption matcher half as many again.
    evaluation.judge_steps = 800
    # Real images in each of these steps; half as many for the part segmenter.
    evaluation.judge_batch_size = 64
    return evaluation


SCHEMA: dict[str, Key] = _config().keys()
