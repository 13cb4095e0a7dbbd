"""Every key of a run, with the released code's values at CUB size.

Batch sizes are global (all devices together), durations are in steps.

A run that is older than a key counts as one with the key's value here, so that a new key gets the
value that does what the program did before. Where another is wanted here, `BEFORE_THE_KEY` in
attngan_jax/configuration.py says what the older runs did.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """The released code's CUB settings; the base of every other config."""
    config = ml_collections.ConfigDict()
    config.name = "default"  # the workdir defaults to runs/<name>
    config.seed = 0  # everything random follows from it
    config.compute_dtype = "float32"  # of the networks; "bfloat16" on TPU and GPU
    config.platform = ""  # that the step is laid out for, such as "tpu"; "": that of the devices
    config.compilation_cache_dir = "~/.cache/attngan_jax"  # XLA executables; "" for none
    config.log_every_steps = 50  # means of the losses since the last line
    config.per_device_batch_norm = False  # True: statistics of each device's share alone
    config.per_device_negatives = False  # True: DAMSM's negatives are of each device's share alone
    config.remat = "none"  # what is computed again, for memory: "layers", "networks"

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


def _data() -> ml_collections.ConfigDict:
    """Which records, and how they become batches."""
    data = ml_collections.ConfigDict()
    data.dataset = "procedural_birds"  # which records; see attngan_jax/data/datasets.py
    data.data_dir = "data"  # where they are built and read; or gs://BUCKET/PATH
    data.cache_dir = "~/.cache/attngan_jax/data"  # this machine's copies of those on gs://
    data.source = ""  # folder to build them from, where they are not drawn; as prepare's --source
    data.max_left_out = 0.01  # share of unusable images; with more the build stops
    data.min_word_count = 1  # words that occur less often in the captions get no number
    data.captions_per_image = 10  # the first so many of a record are used
    data.max_words = 18  # T in training the generator
    data.damsm_max_words = 18  # T in training DAMSM
    data.eval_max_words = 25  # T in evaluation
    data.overflow_rule = "random_subset"  # of a longer caption, order kept; or its "first" words
    data.crop_to_box = True  # CUB's square crop around the bird, where a record has a box
    data.resize_ratio = 76 / 64  # the shorter side is resized to this times the size, then cropped
    data.random_flip = True  # left and right, in training
    data.num_workers = 0  # processes that decode; 0: in the training process
    data.read_threads = 1  # that decode in each of these processes
    data.prefetch_batches = 4  # made ahead in each of these processes
    return data


def _procedural_birds() -> ml_collections.ConfigDict:
    """The birds that the program draws."""
    birds = ml_collections.ConfigDict()
    birds.image_size = 64  # pixels that the birds are drawn at
    birds.num_species = 900  # of train and test together
    birds.test_species = 100  # never drawn in training
    birds.images_per_species = 10  # in train and in test
    birds.seed = 1  # of the species, the images and the sentences
    return birds


def _folder() -> ml_collections.ConfigDict:
    """Images of one's own."""
    folder = ml_collections.ConfigDict()
    folder.title = "pictures"  # of a collection of one's own; another title, another dataset
    folder.test_fraction = 0.1  # of the images that don't say their split
    folder.seed = 1  # of the choice of these
    return folder


def _text_encoder() -> ml_collections.ConfigDict:
    """DAMSM's network for captions."""
    text = ml_collections.ConfigDict()
    text.rnn_type = "lstm"  # or "gru"
    text.forget_bias = 0.0  # added to the LSTM's forget gates at the start
    text.sentence_pooling = "last"  # states; or "mean" or "max" of the words' features
    text.word_dim = 300  # of the word embedding
    text.embedding_dim = 256  # D, both directions together
    text.dropout_rate = 0.5  # on the word embedding
    return text


def _image_encoder() -> ml_collections.ConfigDict:
    """DAMSM's network for images."""
    image = ml_collections.ConfigDict()
    image.trunk = "inception_v3"  # or "cnn", a small one for small images
    image.weights = ""  # file of ImageNet's Inception-v3, or "random"; the cnn trunk needs none
    image.cnn_dim = 32  # channels of the cnn trunk's first layer
    image.image_size = 299  # that the encoder is pretrained at
    return image


def _damsm() -> ml_collections.ConfigDict:
    """Stage 1: the two encoders learn to match."""
    damsm = ml_collections.ConfigDict()
    damsm.batch_size = 48  # global; every other example's caption is a negative; the paper has 50
    damsm.num_train_steps = 110_600  # 600 epochs of 8,855 images
    damsm.learning_rate = 2e-3  # of both encoders, at the start
    damsm.decay_rate = 0.98  # of the learning rate, every decay_steps, down to a tenth
    damsm.decay_steps = 184  # an epoch
    damsm.adam_b1 = 0.5  # Adam's decay of the mean of gradients
    damsm.adam_b2 = 0.999  # Adam's decay of their squares
    damsm.max_grad_norm = 0.25  # of the text encoder's gradient
    damsm.gamma1 = 4.0  # Eq. 9; the paper has 5
    damsm.gamma2 = 5.0  # Eq. 10
    damsm.gamma3 = 10.0  # Eq. 11
    damsm.accumulation_steps = 1  # pieces that the batch goes through the image encoder in
    damsm.checkpoint_every_steps = 2_000  # a killed run loses at most so many
    damsm.best_checkpoint = "eval/retrieval_r1"  # by which one stage 2 takes; "": the newest
    damsm.retrieval_pairs = 1_000  # of the test split, which that is measured on
    return damsm


def _generator() -> ml_collections.ConfigDict:
    """The network that draws, Eq. 1."""
    generator = ml_collections.ConfigDict()
    generator.num_stages = 3  # m
    generator.base_size = 64  # of the first stage's image; each further stage doubles it
    generator.gf_dim = 32  # channels of the hidden features at every stage
    generator.z_dim = 100  # of the noise z
    generator.condition_dim = 100  # of conditioning augmentation's sample
    generator.num_residual_blocks = 2  # in each refinement stage; COCO has 3
    generator.attention = True  # False: the sentence alone in every stage
    generator.single_image = False  # True: AttnDCGAN, one image, at the last stage
    generator.legacy_mask = False  # True: the released code's tiled mask, for its weights
    return generator


def _discriminator() -> ml_collections.ConfigDict:
    """The networks that judge, one for each stage."""
    discriminator = ml_collections.ConfigDict()
    discriminator.df_dim = 64  # channels after the first convolution
    return discriminator


def _attngan() -> ml_collections.ConfigDict:
    """Stage 2: the generator against its discriminators."""
    gan = ml_collections.ConfigDict()
    gan.batch_size = 20  # global
    gan.num_train_steps = 265_800  # 600 epochs of 8,855 images
    gan.generator_learning_rate = 2e-4  # at the start
    gan.discriminator_learning_rate = 2e-4  # of every stage's, at the start
    gan.final_learning_rate_fraction = 1.0  # both fall to this by a cosine; 1: constant
    gan.adam_b1 = 0.5  # as in stage 1
    gan.adam_b2 = 0.999  # as in stage 1
    gan.ema_decay = 0.999  # of the generator's parameters
    gan.damsm_weight = 5.0  # lambda, Eq. 3
    gan.kl_weight = 1.0  # of conditioning augmentation's KL term
    gan.accumulation_steps = 1  # pieces that the batch goes through each network in
    gan.checkpoint_every_steps = 2_000  # a killed run loses at most so many
    gan.best_checkpoint = ""  # the newest is used; "eval/r_precision": the best by that
    gan.scored_images = 500  # which that is measured on, of the test split, at every checkpoint
    gan.sample_every_steps = 2_000  # images of fixed captions for the report
    return gan


def _eval() -> ml_collections.ConfigDict:
    """The scores, and how they are taken."""
    evaluation = ml_collections.ConfigDict()
    evaluation.batch_size = 64  # global; changes no number
    evaluation.num_images = 30_000  # pairs of test caption and generated image
    evaluation.num_candidates = 100  # 1 true caption and 99 mismatching ones
    evaluation.fold_size = 3_000  # images of a fold; the deviation is over folds
    evaluation.mismatch = "class"  # of another class, where there are classes; or "image"
    evaluation.with_replacement = False  # whether a mismatching caption may be drawn twice
    # "paper" or "dm_gan": the five above as that paper has them (evaluation/r_precision.py).
    evaluation.protocol = "own"
    evaluation.inception_splits = 10  # of the Inception Score
    evaluation.inception_score_weights = ""  # file of `convert classifier`; "": no score
    evaluation.fid_weights = ""  # the same, for FID and KID; "": in DAMSM's features alone
    evaluation.reference_split = "test"  # whose real images they compare with; or "train"
    evaluation.kid_images = 5_000  # of either kind at most, at even distances
    evaluation.part_judge_steps = 250  # of the judge of parts, where the data has their masks
    evaluation.judge_steps = 500  # of the attribute classifier, where the data has attributes
    evaluation.judge_batch_size = 64  # real images in each of its steps
    return evaluation
