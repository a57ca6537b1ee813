"""The examples: each runs, is short, and finds what another way of computing finds. `test_demo.py` has the demo."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares, minimize
from scipy.optimize import root as scipy_root
from scipy.stats import multivariate_normal
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import graphad
import graphad.numpy as gnp

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))
QUICK = {
    "eight_schools": ["--draws", "100"],
    "gaussian_mixture": ["--components", "2"],
    "gru_text": ["--epochs", "1", "--units", "8"],
    "harmonic_motion": ["--particles", "3", "--steps", "20"],
    "lenet": ["--epochs", "1"],
    "kernel_regression": ["--points", "10"],
    "logistic_regression": [],
    "lynx_and_hare": [],
    "many_clicks": ["--rows", "3000", "--batch", "300"],
    "natural_gradient": ["--samples", "10"],
    "newton_power_flow": [],
    "nile": [],
    "plot_derivatives": ["--order", "1", "--points", "20"],
    "seeds": [],
    "tracking": [],
    "volatility": [],
}


@pytest.fixture
def example(monkeypatch, tmp_path):
    """Import an example as `python examples/NAME.py` would, in a folder of its own."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module
    for name in NAMES:
        sys.modules.pop(name, None)


def test_examples_are_short_and_all_run():
    lines = {name: len((EXAMPLES / f"{name}.py").read_text().splitlines()) for name in NAMES}
    assert not {name: n for name, n in lines.items() if n > 80 and name != "demo"}
    assert {*QUICK, "demo", "mlp"} == {*NAMES}


@pytest.mark.parametrize("name", QUICK)
def test_examples_run(name, example, capsys):
    assert example(name).main(QUICK[name]) is not None
    assert capsys.readouterr().out.count("\n") >= 1


def test_as_a_program(tmp_path):
    """As its first line says."""
    paths = f"{EXAMPLES.parent}:{EXAMPLES.parent / 'kernels'}"
    command = [sys.executable, str(EXAMPLES / "natural_gradient.py")]
    env = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True, env=env)
    assert "from far   Newton    diverges" in run.stdout
    assert run.stderr == ""


def test_logistic_regression_agrees_with_scikit_learn(example):
    module = example("logistic_regression")
    results = module.main(["--seed", "1"])
    features, labels = load_breast_cancer(return_X_y=True)
    x, x_test, y, y_test = train_test_split(features, labels, test_size=0.3, random_state=1)
    scaler = StandardScaler().fit(x)
    strength = 1 / (2 * module.PENALTY * len(x))
    model = LogisticRegression(C=strength, tol=1e-10, max_iter=10_000).fit(scaler.transform(x), y)
    w = np.append(model.coef_[0], model.intercept_)
    expected = float(module.loss(w, scaler.transform(x), 2.0 * y - 1))
    for loss, accuracy in results.values():
        assert loss == pytest.approx(expected, rel=1e-5)
        assert accuracy == pytest.approx(model.score(scaler.transform(x_test), y_test), abs=0.01)


def test_harmonic_motion_conserves_energy_and_returns(example, capsys):
    module = example("harmonic_motion")
    drift, distance = module.main(["--particles", "5", "--steps", "500"])
    assert drift < 1e-4
    assert distance < 1e-4
    assert "the energy changed by" in capsys.readouterr().out
    x = np.array([[0.0, 0.0], [1.0, 2.0], [0.5, -1.0]])
    forces = [-2 * sum(a - b for b in x) for a in x]
    np.testing.assert_allclose(-np.asarray(graphad.grad(module.potential)(x)), forces)


def test_the_error_of_harmonic_motion_is_of_second_order(example):
    module = example("harmonic_motion")
    coarse, fine = [module.main(["--steps", str(n)])[0] for n in (200, 400)]
    assert coarse / fine == pytest.approx(4, rel=0.05)


def test_natural_gradients_arrive_where_newton_does_not(example):
    module = example("natural_gradient")
    steps = module.main([])
    assert steps["far", "Newton"] is None
    assert steps["far", "natural"] < 15 < steps["far", "gradient"]
    assert max(steps["near", "Newton"], steps["near", "natural"]) < 10
    p = np.array([0.3, -0.2])  # the information of a normal distribution in these coordinates is known
    np.testing.assert_allclose(module.fisher(p), np.diag([np.exp(0.4), 2.0]), atol=1e-12)


def test_the_gaussian_mixture_is_as_good_as_that_of_expectation_and_maximisation(example):
    likelihood, agreement = example("gaussian_mixture").main([])
    x = load_iris().data
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    reference = GaussianMixture(3, n_init=5, random_state=0, tol=1e-6, max_iter=500).fit(x).score(x)
    assert likelihood == pytest.approx(reference, abs=0.01)
    assert agreement > 0.9


def test_the_densities_of_the_mixture(example, rng):
    module = example("gaussian_mixture")
    x = rng.normal(size=(5, 2))
    params = {k: np.asarray(v, np.float64) for k, v in module.initial(x, 2).items()}
    params["lower"] += rng.normal(size=(2, 2, 2))
    params["log_diagonal"] += rng.normal(size=(2, 2))
    for k in range(2):
        factor = np.tril(params["lower"][k], -1) + np.diag(np.exp(params["log_diagonal"][k]))
        precision = factor @ factor.T
        offset = x - params["means"][k]
        expected = np.log(0.5) + 0.5 * np.log(np.linalg.det(precision / (2 * np.pi)))
        expected = expected - 0.5 * np.einsum("ni,ij,nj->n", offset, precision, offset)
        np.testing.assert_allclose(module.log_densities(params, x)[:, k], expected, rtol=1e-10)


def test_lynxes_and_hares_are_as_others_have_found_them(example, tmp_path):
    """Against the means of the case study of Stan, and a fit with SciPy's integrator and differences."""
    module = example("lynx_and_hare")
    p = module.main([])
    assert [p["alpha"], p["beta"], p["gamma"], p["delta"]] == pytest.approx([0.55, 0.028, 0.80, 0.024], rel=0.05)

    def residuals(log_p):
        *args, hares, lynxes = np.exp(log_p)
        found = solve_ivp(
            lambda t, y: module.rates(y, t, *args), (0, 20), (hares, lynxes), "LSODA", np.arange(21), rtol=1e-9
        )
        return (np.log(found.y) - np.log(module.PELTS)).ravel()

    fit = least_squares(residuals, np.log(module.START))
    assert list(p.values()) == pytest.approx(np.exp(fit.x), rel=1e-4)
    height, width, _ = imread(tmp_path / "lynx_and_hare.png").shape
    assert min(height, width) > 400


def test_the_learned_kernel_is_that_of_scikit_learn(example):
    found = example("kernel_regression").main([])
    kernel = ConstantKernel() * RBF() + WhiteKernel()
    fit = GaussianProcessRegressor(kernel).fit(found["x"][:, None], found["y"])
    assert found["loss"] == pytest.approx(-fit.log_marginal_likelihood_value_, rel=1e-6)
    assert found["log_parameters"] == pytest.approx(fit.kernel_.theta, abs=1e-3)


def test_the_effects_on_seeds_are_those_of_the_literature(example):
    """By maximum likelihood, in the manual of WinBUGS, with their standard errors."""
    found, errors = example("seeds").main([])
    assert found == pytest.approx([-0.548, 0.097, 1.337, -0.811, 0.236], abs=2e-3)
    assert errors == pytest.approx([0.167, 0.278, 0.237, 0.385, 0.110], abs=2e-3)


def test_the_smoothed_path_is_that_of_least_squares(example):
    """The mean of the states given all measurements, from the joint normal distribution of all, and their density."""
    module = example("tracking")
    found = module.main([])
    drift, error = np.exp(found["log_variances"])
    times = len(found["path"])
    step = np.linalg.inv(np.eye(4 * times) - np.kron(np.eye(times, k=-1), module.MOVES))
    first = module.MOVES @ (10 * np.eye(4)) @ module.MOVES.T
    joint = step @ np.kron(np.eye(times), drift * module.DRIFTS) @ step.T
    joint += step[:, :4] @ first @ step[:, :4].T
    seen = np.kron(np.eye(times), module.PLACES)
    covariance = seen @ joint @ seen.T + error * np.eye(2 * times)
    mean = joint @ seen.T @ np.linalg.solve(covariance, found["measured"].ravel())
    np.testing.assert_allclose(np.ravel(found["smoothed"]), mean, atol=1e-6)
    density = multivariate_normal(np.zeros(2 * times), covariance).logpdf(found["measured"].ravel())
    assert found["loss"] == pytest.approx(-density, rel=1e-9)
    miss = [np.mean((np.asarray(found[name])[:, :2] - found["path"][:, :2]) ** 2) for name in ("smoothed", "filtered")]
    assert miss[0] < 0.5 * miss[1] < 0.5 * np.mean((found["measured"] - found["path"][:, :2]) ** 2)


def test_the_flow_of_power_is_that_of_the_textbook(example, tmp_path):
    """Voltages and angles of Anderson and Fouad 1977; losses by loads from differences of SciPy's root."""
    module = example("newton_power_flow")
    found = module.main([])
    assert 100 * found["p"][:3] == pytest.approx([71.6, 163, 85], abs=0.05)
    assert np.asarray(found["v"]) == pytest.approx([1.026, 1.013, 1.032, 1.016, 1.026, 0.996], abs=6e-4)
    angles = [9.3, 4.7, -2.2, -3.7, 2.0, 0.7, 3.7, -4.0]
    assert np.degrees(np.asarray(found["angle"])) == pytest.approx(angles, abs=0.06)

    def lost(active):
        def flows(x):
            u = np.concatenate([module.HELD, x[:6]]) * np.exp(1j * np.concatenate([[0], x[6:]]))
            return u * np.conj(module.Y @ u)

        def misses(x):
            s = flows(x)
            return np.concatenate([s.real[1:3] - module.GENERATED, s.real[3:] + active, s.imag[3:] + module.REACTIVE])

        return flows(scipy_root(misses, np.r_[np.ones(6), np.zeros(8)], tol=1e-13).x).real.sum()

    slopes = [(lost(module.ACTIVE + 1e-4 * e) - lost(module.ACTIVE - 1e-4 * e)) / 2e-4 for e in np.eye(6)]
    assert found["losses"] == pytest.approx(slopes, abs=1e-6)
    assert 2.4 < found["most"] < 3
    assert min(imread(tmp_path / "newton_power_flow.png").shape[:2]) > 400


def test_the_level_of_the_nile_has_the_variances_of_the_literature(example):
    noise, drift = example("nile").main([])
    assert (round(noise), round(drift)) == (15099, 1469)


def test_volatility_is_what_differences_of_numpy_find(example):
    module = example("volatility")
    p = module.main([])

    def loss(q):
        v, total = np.var(module.RETURNS), 0.0
        for r in module.RETURNS:
            total += np.log(2 * np.pi * v) + r * r / v
            v = q[0] + q[1] * r * r + q[2] * v
        return 0.5 * total / module.RETURNS.size

    found = list(p.values())
    fit = minimize(loss, np.multiply(found, 1.1), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12})
    assert found == pytest.approx(fit.x, rel=1e-3)
    assert loss(found) <= fit.fun + 1e-10


def test_the_effects_of_coaching_are_those_of_the_reference_posterior(example):
    """Its means, of 10,000 draws by Stan, are 4.4 and 3.6, and the deviations 3.3 and 3.2."""
    p = example("eight_schools").main([])
    assert (p["mu"], p["tau"]) == (pytest.approx(4.4, abs=0.15), pytest.approx(3.6, abs=0.15))


@pytest.mark.slow
def test_the_network_learns_to_write(example):
    assert example("gru_text").main(["--epochs", "20"]) < 2.6


def test_the_convolutional_network_learns(example):
    assert example("lenet").main(["--epochs", "8"]) > 0.9


def test_the_convolutional_network_goes_on_where_it_was(example, tmp_path, capsys):
    module = example("lenet")
    module.main(["--epochs", "2", "--checkpoint", "kept"])
    reached = module.main(["--epochs", "3", "--checkpoint", "kept"])
    assert "going on from step 44, in kept" in capsys.readouterr().err
    assert reached == module.main(["--epochs", "3"])


def test_many_clicks_agree_with_scikit_learn(example):
    module = example("many_clicks")
    correlation = module.main(["--rows", "20000", "--epochs", "8"])
    x, y, true = module.make_data(20_000, 0)
    model = LogisticRegression(C=1e6).fit(x[2000:], y[2000:])
    assert correlation == pytest.approx(np.corrcoef(model.coef_[0], true)[0, 1], abs=1e-3)


def test_the_same_file_on_another_device(example):
    small = ["--rows", "1000", "--batch", "300", "--epochs", "1"]
    here, there = (example("many_clicks").main([*small, "--device", device]) for device in ("cpu", "cuda:emulated"))
    assert there == pytest.approx(here, abs=1e-5)


def test_the_gradient_of_the_convolutional_network(example, rng):
    module = example("lenet")
    with graphad.config.override(default_dtype_bits=64):
        params = module.init_params(graphad.random.key(0))
        images, digits = gnp.array(rng.normal(size=(2, 8, 8))), gnp.array([3, 7])
        graphad.check_grads(lambda p: module.loss(p, images, digits), (params,), order=1, modes=("rev",))


def test_the_plot(example, tmp_path):
    module = example("plot_derivatives")
    assert module.main([]) == "derivatives.png"
    height, width, _ = imread(tmp_path / "derivatives.png").shape
    assert min(height, width) > 400
    x = gnp.linspace(-1.0, 1.0, 7)
    f, first, second = module.derivatives(gnp.tanh, 2)
    t = np.tanh(np.asarray(x))
    np.testing.assert_allclose(f(x), t, rtol=1e-6)
    np.testing.assert_allclose(first(x), 1 - t**2, rtol=1e-5)
    np.testing.assert_allclose(second(x), -2 * t * (1 - t**2), atol=1e-6)
