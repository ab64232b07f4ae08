"""Every mistake in a config is one line that names the key, the value and what is allowed."""

from __future__ import annotations

import importlib
import shlex

import pytest

from configs import common, mmvae_plus
from mmvae_jax import command_line, configuration, data, models
from mmvae_jax.data import missingness
from mmvae_jax.types import ModalitySpec, UserError

CLASS = ModalitySpec(
    name="label", shape=(), dtype="int32", likelihood="categorical", num_classes=10
)


def config() -> dict:
    return mmvae_plus.get_config().to_dict()


def changed(key: str, value) -> dict:
    values = config()
    *sections, last = key.split(".")
    section = values
    for name in sections:
        section = section[name]
    section[last] = value
    return values


# What the argument of a config takes beside the data set.
FURTHER = {
    "dmvae_hybrid": ("", "recipe=paper", "paired=1.0"),
    "meme": ("variant=code", "variant=paper"),
    "mmvae_plus": ("networks=paper", "networks=small"),
    "mvae": ("", "paired=0.01"),
}


@pytest.mark.parametrize("dataset", sorted(common.DATASETS))
@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_shipped_configs_are_valid(name, dataset):
    """Every rule belongs to a key, and every key has a rule."""
    for further in FURTHER.get(name, ("",)):
        config = importlib.import_module(f"configs.{name}")
        values = config.get_config(f"dataset={dataset},{further}").to_dict()
        configuration.validate(values)
        keys = dict(configuration.flat(values)).keys()
        assert keys == set(configuration.rules_for(name, dataset)) | {"data.dir"}
        options = set(values["data"]) - {"name", "dir", "download", "seed", *missingness.OPTIONS}
        assert options <= set(data.option_defaults(dataset))


@pytest.mark.parametrize("dataset", ["mnist_labels", "fashion_mnist_labels"])
@pytest.mark.parametrize("name", sorted(models.MODELS))
def test_a_class_has_no_private_code(name, dataset):
    """Nor has its image a ResNet for colours."""
    values = importlib.import_module(f"configs.{name}").get_config(f"dataset={dataset}").to_dict()
    image, label = ModalitySpec(name="image", shape=(28, 28, 1)), CLASS
    image, label = models.specs_from_config(values["model"], (image, label))
    model = models.build(values, (image, label))
    model.check()
    assert label.private_dim == 0
    assert image.network in ("mlp", "conv")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("batch_size", 0, "config.batch_size = 0: must be an integer of at least 1"),
        ("batch_size", -5, "at least 1"),
        ("batch_size", 1.5, "must be an integer"),
        ("num_epochs", True, "must be an integer"),
        ("objective.num_samples", 0, "config.objective.num_samples = 0: must be an integer of at"),
        ("objective.beta", -1.0, "of at least 0"),
        ("objective.beta", float("nan"), "must be a number"),
        ("objective.estimator", "dregs", "'iwae', 'stl', 'dreg'; did you mean 'dreg'?"),
        ("data.name", "polydigit", "did you mean 'polydigits'?"),
        ("data.num_modalities", 1, "at least 2"),
        ("data.num_train", -1, "at least 0"),
        ("model.network", "cnov", "did you mean 'conv'?"),
        ("model.private_dim", -1, "at least 0"),
        ("model.likelihood_scale", 0.0, "above 0"),
        ("model.network_options", {"conv": {"width": 0}}, "network_options.conv.width = 0"),
        ("model.network_options", {"conv": {"decoder_factor": 1}}, "of at least 2"),
        ("model.network_options", {"conv": {"depth": 3}}, "must be one of 'width', 'hidden',"),
        ("model.network_options", {"cnov": {}}, "did you mean 'conv'?"),
        ("model.network_options", {"mlp": {"hidden": 64}}, "must be a list of sizes"),
        ("model.network_options", {"conv": {"hidden": [64]}}, "must be one size"),
        ("model.network_options", 3, "must be of type Mapping"),
        ("model.modalities", {"m0": {"wieght": 2.0}}, "did you mean 'weight'?"),
        ("model.modalities", {"m0": {"private_dim": -1}}, "modalities.m0.private_dim = -1"),
        ("model.name", "mmvae_pluss", "did you mean 'mmvae_plus'?"),
        ("seed", 2**32, "from 0 to 4294967295"),
        ("optimizer.learning_rate", "fast", "must be a number above 0"),
        ("optimizer.name", "adan", "did you mean 'adam'?"),
        ("training.log_every", 0, "at least 1"),
        ("training.steps_per_epoch", -1, "at least 0"),
        ("training.batch_mix", 3, "must be of type Mapping"),
        ("training.batch_mix", "complete", "must be of type Mapping"),
        ("training.batch_mix", {"complete": -1}, "batch_mix.complete = -1: must be an integer"),
        ("training.batch_mix", {"m0": 0.5}, "batch_mix.m0 = 0.5: must be an integer"),
        ("data.partial", "pared", "did you mean 'paired'?"),
        ("data.observed", 1.5, "from 0 to 1"),
        ("data.observed", -0.5, "of at least 0"),
        ("data.rest", "all", "must be one of 'each', 'one'"),
        ("data.always", 1, "must be of type str"),
        ("data.labels_per_class", -1, "at least 0"),
        ("evaluation.metrics", "bound/tset", "did you mean 'bound/test'?"),
        ("evaluation.likelihood_sets", "m0, m1|m1", "'m1' stands twice in 'm1|m1'"),
        ("evaluation.likelihood_sets", 3, "must be of type str"),
        ("evaluation.word_vectors", "no.vec", "must be the name of a file that is there, or empty"),
        ("evaluation.sentence_vectors", "means", "did you mean 'mean'?"),
        ("evaluation.probe_codes", "mean", "did you mean 'means'?"),
        ("evaluation.robustness_examples", -1, "at least 0"),
        ("evaluation.figures", 1, "must be of type bool, not int"),
    ],
)
def test_bad_values_are_named(key, value, said):
    with pytest.raises(UserError) as error:
        configuration.validate(changed(key, value))
    line = str(error.value)
    assert said in line
    assert f"config.{key}" in line
    assert "\n" not in line


def test_values_that_fit():
    for key, value in (
        ("training.batch_mix", {"complete": 20, "m0": 108, "other": 0}),
        ("training.batch_mix", ""),
        ("data.observed", 1),
    ):
        configuration.validate(changed(key, value))


def test_an_option_of_one_dataset_has_its_rule():
    values = mmvae_plus.get_config("dataset=mnist_labels").to_dict()
    values["data"]["binarize"] = "treshold"
    with pytest.raises(UserError, match="did you mean 'threshold'"):
        configuration.validate(values)


def test_a_changed_config_leaves_the_next_one_alone():
    mmvae_plus.get_config().data.seed = 5
    assert mmvae_plus.get_config().data.seed == 0


def test_an_unknown_key_gets_the_nearest_match():
    values = config()
    values["optimizer"]["learning_rat"] = 1e-3
    with pytest.raises(UserError, match=r"learning_rat: .*did you mean 'config.optimizer.learning"):
        configuration.validate(values)


def test_a_key_that_is_not_set_is_named():
    values = config()
    del values["model"]["latent"]
    with pytest.raises(UserError, match=r"config\.model\.latent is not set"):
        configuration.validate(values)


def test_a_run_from_before_feeds_and_flips_is_valid():
    values = config()
    del values["training"]["data"], values["training"]["augment"]
    configuration.validate(values)
    with pytest.raises(UserError, match=r"training\.data = 'hosts': .*did you mean 'host'"):
        configuration.validate(changed("training.data", "hosts"))
    with pytest.raises(UserError, match=r"training\.augment\.flip = True: must be of type str"):
        configuration.validate(changed("training.augment.flip", True))


@pytest.mark.parametrize("network", ["conv", "mlp", "resnet"])
def test_every_network_family_can_be_chosen(network):
    values = changed("model.network", network)
    configuration.validate(values)
    dataset = data.load("polydigits", {"num_train": 10, "num_validation": 10, "num_test": 10})
    model = models.build(values, models.specs_from_config(values["model"], dataset.specs))
    model.check()
    assert model.specs[0].network == network
    assert model.specs[0].network_options


def test_a_missing_section_is_named():
    values = config()
    del values["objective"]
    with pytest.raises(UserError, match="no section 'objective'"):
        configuration.validate(values)


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("dataset=polymnst", "unknown dataset 'polymnst'.*did you mean 'polymnist'"),
        ("datset=polymnist", "unknown key 'datset'.*did you mean 'dataset'"),
        ("polymnist", "write it as key=value"),
        ("networks=big", "unknown networks 'big'.*paper, small"),
    ],
)
def test_the_argument_string_is_checked(argument, said):
    with pytest.raises(UserError, match=said):
        mmvae_plus.get_config(argument)


def test_arguments_are_read_as_their_defaults_type():
    parsed = common.parse_arg("a=3,b=0.5,c=true", a=1, b=1.0, c=False, d="x")
    assert (parsed.a, parsed.b, parsed.c, parsed.d) == (3, 0.5, True, "x")
    for bad in ("a=x", "b=x", "c=x"):
        with pytest.raises(UserError, match=f"argument {bad}"):
            common.parse_arg(bad, a=1, b=1.0, c=False)


def test_a_network_that_does_not_fit_the_data_is_refused():
    dataset = data.load("polydigits", {"num_train": 10, "num_validation": 10, "num_test": 10})
    values = config()
    values["model"].update(network="resnet", network_options={"resnet": {"stages": 5}})
    specs = models.specs_from_config(values["model"], dataset.specs)
    model = models.build(values, specs)
    with pytest.raises(UserError, match="divisible by 32"):
        model.check()
    values["model"].update(network="conv", network_options={"conv": {"depth": 5}})
    model = models.build(values, models.specs_from_config(values["model"], dataset.specs))
    with pytest.raises(UserError, match="has no option 'depth'; it has width, hidden"):
        model.check()


def test_what_differs_from_the_defaults_is_told_with_them():
    values = changed("model.modalities", {"m0": {"weight": 2.0}})
    values["seed"] = 5
    found = configuration.changed(values, config())
    assert found == {"model.modalities": {}, "seed": 0}
    assert configuration.changed(config(), config()) == {}


def test_the_command_can_be_typed_again():
    typed = ["main.py", "--config=a.py", "--config.training.batch_mix={'image': 100}"]
    command = command_line.command(typed)
    assert shlex.split(command) == ["python", "-m", "mmvae_jax.main", *typed[1:]]
