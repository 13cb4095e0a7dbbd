"""The species: reproducible, all different, and their colours spread evenly."""

import numpy as np

from attngan_jax.data.birds.species import (
    ATTRIBUTES,
    BODY_COLORS,
    COLOR_ATTRIBUTES,
    COLORS,
    PARTS,
    make_species,
)

SPECIES = make_species(500, seed=1)


def test_the_seed_decides_and_more_species_begin_with_the_same():
    assert make_species(500, seed=1) == SPECIES
    assert make_species(60, seed=1) == SPECIES[:60]
    assert make_species(60, seed=2) != SPECIES[:60]


def test_no_two_species_share_their_colours():
    palettes = {tuple(one.value(part) for part in BODY_COLORS) for one in SPECIES}
    assert len(palettes) == len(SPECIES)
    assert all(len(set(palette)) > 1 for palette in palettes)
    assert len({one.name for one in SPECIES}) == len(SPECIES)


def test_training_species_show_every_value_and_each_about_equally_often():
    values = np.array([one.attributes for one in SPECIES[:400]])
    for column, (name, names) in zip(values.T, ATTRIBUTES.items(), strict=True):
        shares = np.bincount(column, minlength=len(names)) / len(values)
        assert shares.min() > 0, name
        if names is COLORS:
            assert 0.05 < shares.min() and shares.max() < 0.16, (name, shares)


def test_ten_species_are_enough_for_every_colour_of_every_part():
    for part in COLOR_ATTRIBUTES:
        assert {one.value(part) for one in SPECIES[:10]} == set(ATTRIBUTES[part])


def test_rings_and_bars_stand_out():
    assert all(one.value("eye_ring") != one.value("crown_color") for one in SPECIES)
    assert all(one.value("wing_bars") != one.value("wing_color") for one in SPECIES)
    assert {one.value("eye_ring") for one in SPECIES} == set(ATTRIBUTES["eye_ring"])


def test_colour_attributes_are_those_of_the_first_parts():
    assert COLOR_ATTRIBUTES == tuple(f"{part}_color" for part in PARTS[:6])
    assert tuple(ATTRIBUTES)[:6] == COLOR_ATTRIBUTES
