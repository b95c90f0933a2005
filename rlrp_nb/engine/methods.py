"""The methods as data: which rule each kind of layer gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Literal

from rlrp_nb.engine.classic import AlphaBeta, Epsilon, Flat, Gamma, LayerRule, Transpose
from rlrp_nb.errors import InputError
from rlrp_nb.printable import printable

TRANSPOSE = Transpose()


@dataclass(frozen=True)
class Method:
    """A way to hand relevance back through a network.

    Attributes
    ----------
    name
        What the method is called in code.
    title
        What it is called in figures.
    activation
        What replaces the derivative of an activation a = phi(z): ``relative`` is the secant slope a/z times the
        relative activation ``|a| / max |a|`` (R-LRP), ``secant`` the secant slope (relevance passes unchanged),
        ``derivative`` the derivative itself.
    convolution, dense, scale
        The rule for convolutions, for dense layers and matrix products, for batch-norm that is not folded.
    first
        The rule for the maps nearest to the input, or None where they are treated like the others.
    """

    name: str
    title: str
    activation: Literal["relative", "secant", "derivative"]
    convolution: LayerRule = TRANSPOSE
    dense: LayerRule = TRANSPOSE
    scale: LayerRule = TRANSPOSE
    first: Flat | None = None

    def __post_init__(self) -> None:
        """Refuse what would be taken for something else.

        Raises
        ------
        InputError
            `activation` is none of the three, a rule is none, or a name is not a text.
        """
        for key in ("name", "title"):
            if not isinstance(getattr(self, key), str):
                raise InputError(f"{key} is {getattr(self, key)!r}; accepted is a text.")
        for key in ("convolution", "dense", "scale"):
            if not isinstance(getattr(self, key), LayerRule):
                raise InputError(
                    f"{key} is {getattr(self, key)!r}; accepted is a Transpose, Epsilon, Gamma or AlphaBeta of "
                    "rlrp_nb.engine.classic."
                )
        if not isinstance(self.first, Flat | None):
            raise InputError(f"first is {self.first!r}; accepted is Flat(), or None.")
        if self.activation not in ("relative", "secant", "derivative"):
            raise InputError(
                f"activation is {self.activation!r}; accepted are 'relative' (R-LRP), 'secant' (LRP) and 'derivative'."
            )

    def __repr__(self) -> str:
        return f"<Method {printable(self.name)}>"


_USUAL = 0.25  # epsilon and gamma
_FAINT = 1e-6  # epsilon of the composite, whose dense layers are only kept from dividing by 0


def rlrp() -> Method:
    """Return R-LRP: ReLU's derivative is replaced by the relative activation; there is nothing to set."""
    return Method("rlrp", "R-LRP", "relative")


def lrp_0() -> Method:
    """Return LRP-0, which on networks of ReLU equals gradient x input."""
    return Method("lrp-0", "LRP-0", "secant")


def lrp_epsilon(epsilon: float = _USUAL) -> Method:
    """Return LRP-epsilon for all layers.

    Parameters
    ----------
    epsilon
        Added to every denominator with its sign, in units of the pre-activation.
    """
    rule = Epsilon(epsilon)
    return Method(_named("lrp-epsilon", epsilon, _USUAL), f"LRP-ε ({epsilon:g})", "secant", rule, rule, rule)


def lrp_gamma(gamma: float = _USUAL) -> Method:
    """Return LRP-gamma for all layers.

    Parameters
    ----------
    gamma
        How much more the contributions of the output's own sign count.
    """
    rule = Gamma(gamma)
    return Method(_named("lrp-gamma", gamma, _USUAL), f"LRP-γ ({gamma:g})", "secant", rule, rule, rule)  # noqa: RUF001 - Greek is meant


def alpha1beta0() -> Method:
    """Return LRP-alpha1beta0 for all layers."""
    rule = AlphaBeta()
    return Method("alpha1beta0", "LRP-α1β0", "secant", rule, rule, rule)  # noqa: RUF001 - Greek is meant


def epsilon_plus_flat(epsilon: float = _FAINT) -> Method:
    """Return the composite: flat at the input, z-plus on convolutions, epsilon on dense layers.

    Parameters
    ----------
    epsilon
        Of the dense layers.
    """
    plus, dense = AlphaBeta(), Epsilon(epsilon)
    return Method(_named("epsilon-plus-flat", epsilon, _FAINT), "LRP-ε+flat", "secant", plus, dense, plus, Flat())


def gradient_x_input() -> Method:
    """Return gradient x input.

    It is the gradient of what the network computes. A ``backward`` of one's own (``torch.autograd.Function``) and parts
    under ``torch.no_grad`` leave no trace in that.
    """
    return Method("gradient-x-input", "Gradient × input", "derivative")  # noqa: RUF001 - a product is meant


def _named(name: str, parameter: float, usual: float) -> str:
    """Add a parameter that is not the usual one to a name, so that neither result is taken for the other."""
    return name if parameter == usual else f"{name}({float(parameter)!r})"


METHODS = {
    method.name: method
    for method in (
        rlrp(),
        lrp_0(),
        lrp_epsilon(),
        lrp_gamma(),
        alpha1beta0(),
        epsilon_plus_flat(),
        gradient_x_input(),
    )
}
"""The methods by name, with their usual parameters."""


def available_methods() -> tuple[str, ...]:
    """Return the names of the methods, R-LRP first."""
    return tuple(METHODS)


def resolve(method: str | Method) -> Method:
    """Return the method of that name.

    Raises
    ------
    InputError
        There is none of that name, or a method of one's own has the name of another.
    """
    if isinstance(method, Method):
        known = METHODS.get(method.name)
        if known is not None and replace(method, title=known.title) != known:
            raise InputError(
                f"a method of your own is called {method.name!r}, the name of another one, for which its results would "
                "be taken: give it a name of its own."
            )
        return method
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]
    near = get_close_matches(str(method), METHODS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"method {method!r} is not known; accepted are {', '.join(METHODS)}, or a Method.{hint}")
