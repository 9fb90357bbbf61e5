"""Every option of a network has a way in from the command line."""
import pytest

from pulmonode_training.baselines import Baseline
from pulmonode_training.networks import MSUNet, MUNet
from pulmonode_training.train import arguments, network

FILES = ["--data", "d", "--scans", "s", "--out", "o"]


def test_options_are_read_as_what_they_are():
    args = arguments(["refine", *FILES, "--width", "0.125", "--option", "heads=encoder", "--option", "separable=no",
                      "--option", "decoder_gates=1,2", "--option", "dropout=0.5"])
    assert args.options == {"width": 0.125, "dropout": 0.5, "heads": "encoder", "separable": False, "decoder_gates": (1, 2)}
    net = network(args)
    assert isinstance(net, MSUNet) and net.heads == "encoder" and sorted(net.body.gate_out) == ["1", "2"]


def test_the_3d_u_net_is_mu_net_without_pyramid_and_gates():
    net = network(arguments(["localize", *FILES, "--option", "scales=0", "--option", "decoder_gates="]))
    assert isinstance(net, MUNet) and not net.body.gate_in and not net.body.gate_out


def test_a_baseline_takes_of_the_preset_what_it_has():
    args = arguments(["refine", *FILES, "--baseline", "2D/Nested U-Net"])
    assert args.options == {"width": 0.25} and isinstance(network(args), Baseline)


@pytest.mark.parametrize("words, says", [
    (["--option", "head=encoder"], "a name of width, tasks"),
    (["--option", "heads"], "NAME=VALUE"),
    (["--option", "heads=left"], "choose both, encoder or decoder"),
    (["--option", "separable=perhaps"], "yes or no"),
    (["--option", "scales=two"], "a whole number"),
    (["--option", "decoder_gates=1,x"], "a list with commas"),
    (["--width", "0.1"], "choose a width"),
    (["--baseline", "2.5D/V-Net"], "Attention U-Net"),
    (["--baseline", "2D/U-Net", "--option", "heads=encoder"], "a name of width"),
])
def test_what_a_network_does_not_have_is_refused_with_what_it_has(capsys, words, says):
    with pytest.raises(SystemExit):
        arguments(["refine", *FILES, *words])
    assert says in capsys.readouterr().err
