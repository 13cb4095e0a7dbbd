"""Makes any config so small that a whole run takes seconds."""


def shrink(config):
    """The same networks and steps in tiny: two stages of 8 and 16 pixels, four steps of each."""
    config.name = f"tiny_{config.name}"
    config.compilation_cache_dir = ""  # the tests have their own
    config.data.resize_ratio = 18 / 16
    config.text_encoder.word_dim = 8
    config.text_encoder.embedding_dim = 8
    config.image_encoder.trunk = "cnn"
    config.image_encoder.cnn_dim = 4
    config.image_encoder.image_size = 16
    config.damsm.batch_size = 8
    config.damsm.num_train_steps = 4
    config.damsm.checkpoint_every_steps = 2
    config.generator.num_stages = 2
    config.generator.base_size = 8
    config.generator.gf_dim = 4
    config.generator.z_dim = 4
    config.generator.condition_dim = 6
    config.discriminator.df_dim = 4
    config.attngan.batch_size = 8
    config.attngan.num_train_steps = 4
    config.attngan.checkpoint_every_steps = 2
    config.attngan.sample_every_steps = 2
    config.log_every_steps = 2
    config.eval.batch_size = 8
    config.eval.num_images = 30
    config.eval.num_candidates = 10
    config.eval.fold_size = 10
    config.eval.judge_steps = 5
    config.eval.part_judge_steps = 5
    config.eval.judge_batch_size = 8
    return config
