"""Sphinx configuration: `make docs` builds the documentation, without network access."""

import os

import skfm

project = "skfm"
author = "The skfm developers"
project_copyright = "2026, The skfm developers"
release = skfm.__version__
version = ".".join(release.split(".")[:2])

extensions = [
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_copybutton",
    "sphinx_design",
]
templates_path = ["_templates"]
exclude_patterns = ["_build"]

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"
# The class template lists the methods, so that it can leave some out.
numpydoc_show_class_members = False

# Links to the documentation of other projects need their indexes from the network. They are left out by
# default, so that a build without network gives no warning.
if os.environ.get("SKFM_DOCS_ONLINE"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable", None),
        "python": ("https://docs.python.org/3", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }

html_theme = "pydata_sphinx_theme"
html_title = f"skfm {version}"
html_theme_options = {
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
}
html_sidebars = {"changelog": [], "benchmarks": []}

# Plots are drawn by the examples that pages name.
plot_include_source = False
plot_html_show_source_link = False
plot_html_show_formats = False
plot_formats = [("png", 120)]

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

# Labels that docstrings inherited from scikit-learn refer to. They are pages of its documentation.
SKLEARN_LABELS = {"accuracy_score", "metadata_routing", "r2_score"}


def _as_text(app, env, node, contnode):
    """Keep the text of a reference to such a label, without a link and without a warning."""
    return contnode if node["reftarget"] in SKLEARN_LABELS else None


def setup(app):
    """Connect the handler above, after that of intersphinx, which finds the page where it is on."""
    app.connect("missing-reference", _as_text, priority=900)
