"""Real photographs that come with scikit-image, so that everything can be tried without a network connection."""

from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from PIL import Image

from rlrp_nb.data.image import load_image
from rlrp_nb.errors import InputError, MissingPackageError

# These files are inside scikit-image's package itself; its other pictures would be downloaded on first use.
_FILES = MappingProxyType(
    {
        "astronaut": "astronaut.png",
        "camera": "camera.png",
        "chelsea": "chelsea.png",
        "coffee": "coffee.png",
        "hubble_deep_field": "hubble_deep_field.jpg",
        "rocket": "rocket.jpg",
        "stereo_motorcycle": "motorcycle_left.png",
    }
)


def available_samples() -> tuple[str, ...]:
    """Names that :func:`sample_image` knows, in alphabetical order."""
    return tuple(sorted(_FILES))


def sample_image(name: str) -> Image.Image:
    """Open a photograph that is installed with scikit-image.

    Parameters
    ----------
    name : str
        One of :func:`available_samples`: "coffee" (a cup of espresso), "camera" (a photographer and his tripod),
        "chelsea" (a cat), "rocket", "stereo_motorcycle" (the left eye's view), "astronaut", "hubble_deep_field".

    Returns
    -------
    PIL.Image.Image
        The photograph, RGB.

    Raises
    ------
    InputError
        There is no such photograph.
    MissingPackageError
        scikit-image is not installed.
    """
    if name not in _FILES:
        close = get_close_matches(str(name).lower(), _FILES, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise InputError(f"there is no sample photograph {name!r}.{hint} Available: {', '.join(available_samples())}.")
    package = find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise MissingPackageError(
            f"the photograph {name!r} comes with scikit-image, which is not installed: pip install 'rlrp-nb[demo]'."
        )
    return load_image(Path(package.submodule_search_locations[0]) / "data" / _FILES[name])
