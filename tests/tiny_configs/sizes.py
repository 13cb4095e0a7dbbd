"""Makes any config so small that a whole run takes seconds."""


def shrink(config):
    """The same networks and steps in tiny: two stages of 8 and 16 pixels, four steps of each."""
    config.name = f"tiny_{config.name}"
    config.compilation_cache_dir = ""  # the tests have their own
    config.log_every_steps = 2
    config.data.resize_ratio = 18 / 16
    config.text_encoder.update(word_dim=8, embedding_dim=8)
    config.image_encoder.update(trunk="cnn", cnn_dim=4, image_size=16)
    config.generator.update(num_stages=2, base_size=8, gf_dim=4, z_dim=4, condition_dim=6)
    config.discriminator.df_dim = 4
    for stage in (config.damsm, config.attngan):
        stage.update(batch_size=8, num_train_steps=4, checkpoint_every_steps=2)
    config.attngan.sample_every_steps = 2
    config.eval.update(batch_size=8, num_images=30, num_candidates=10, fold_size=10)
    config.eval.update(judge_steps=5, part_judge_steps=5, judge_batch_size=8)
    return config
