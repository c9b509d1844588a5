"""The arrows between the packages, and the sizes of files and functions (docs: a file is one idea)."""

import ast
import re
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "ppdiffusers_ext"
SOURCES = sorted(path for folder in (PACKAGE, "scripts") for path in (ROOT / folder).rglob("*.py"))

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
# Functions whose signature and docstring list the options of a published model or pipeline, one per line.
LONG_FUNCTIONS = {
    ("denoising_unet.py", "__init__"),
    ("reference_unet.py", "__init__"),
    ("pipeline.py", "__call__"),
    ("inpaint.py", "__call__"),
}

# What each package must not reach, directly or through another module.
FORBIDDEN = {
    "models": ["pipelines", "data", "engine", "training", "preprocess", "metrics", "runtime"],
    "weights": ["models", "pipelines", "training", "preprocess", "data", "metrics", "engine"],
    "data": ["pipelines", "training", "preprocess", "models", "weights", "engine", "metrics"],
    "engine": ["pipelines", "training", "preprocess"],
    "metrics": ["pipelines", "training", "preprocess"],
    "pipelines": ["training", "comfyui"],
    "data.chain": ["pipelines", "training", "comfyui"],
    "workers": ["models", "pipelines", "training", "preprocess", "data", "weights", "engine", "metrics", "batch"],
    "batch": ["models", "pipelines", "training", "preprocess", "comfyui"],
    "observability": [
        "models",
        "pipelines",
        "training",
        "preprocess",
        "data",
        "weights",
        "engine",
        "metrics",
        "batch",
    ],
    "preprocess": ["pipelines", "training", "models", "metrics", "comfyui"],
    "comfyui": ["training"],
    "server": ["training", "comfyui"],
    "errors": ["models", "weights", "data", "engine", "metrics", "pipelines", "training", "preprocess"],
    "files": ["models", "weights", "data", "engine", "metrics", "pipelines", "training", "preprocess"],
    "environment": ["models", "weights", "data", "engine", "metrics", "pipelines", "training", "preprocess"],
    "library_imports": ["models", "weights", "data", "engine", "metrics", "pipelines", "training", "preprocess"],
}
# Nothing that runs without a server reaches it.
FORBIDDEN = {
    importer: [*imported, "server"] if importer != "server" else imported for importer, imported in FORBIDDEN.items()
}


SYSTEMS = ("animate_anyone", "stable_animator", "easy_animate")
# The data chain stands above the rest of `data`, which is below networks: it may use preprocess, models and metrics.
CHAIN = ("data.chain", *(f"data.{system}.chain" for system in SYSTEMS))
# Modules that know the systems by name, and so import them; all others get what they need as arguments.
REGISTRIES = {"pipelines.registry", "pipelines.systems", "training.trainers", "comfyui.nodes", "data.chain.systems"}
# Files that each system has in these rooms.
SAME_FILES = {
    "models": {"checkpoint"},
    "pipelines": {"options", "check", "loading", "memory", "pipeline", "denoise", "run", "conversion"},
    "data": {"clips", "samples", "check", "chain"},
    "training": {"options", "check", "data", "model", "objective", "run", "validation"},
}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph(PACKAGE, include_external_packages=True, cache_dir=None)


@pytest.fixture(scope="module")
def graph_below_chain(graph):
    """The graph without the data chain."""
    below = graph.__deepcopy__({})
    for name in CHAIN:
        for module in {f"{PACKAGE}.{name}", *below.find_descendants(f"{PACKAGE}.{name}")} & below.modules:
            below.remove_module(module)
    return below


def chains(graph, importer, imported):
    """All direct imports by which a package reaches another, readable: ["a.b -> c.d"]."""
    found = graph.find_shortest_chains(importer, imported, as_packages=True)
    return sorted(" -> ".join(chain) for chain in found)


@pytest.mark.parametrize("importer", FORBIDDEN)
def test_arrow_points_one_way(graph, graph_below_chain, importer):
    graph, importer_package = graph_below_chain if importer == "data" else graph, f"{PACKAGE}.{importer}"
    if importer_package not in graph.modules:
        pytest.skip(f"{importer_package} is not written yet")
    written = [f"{PACKAGE}.{name}" for name in FORBIDDEN[importer] if f"{PACKAGE}.{name}" in graph.modules]
    assert [chain for imported in written for chain in chains(graph, importer_package, imported)] == []


def is_of_chain(module):
    own = module.removeprefix(f"{PACKAGE}.")
    return any(own == name or own.startswith(f"{name}.") for name in CHAIN)


def test_nothing_imports_the_data_chain_but_itself(graph):
    found = [
        f"{importer} -> {imported}"
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if is_of_chain(imported) and not is_of_chain(importer)
    ]
    assert found == []


# Modules of `models` that read files, or say what stands in them, and what of `weights` they may import.
OF_WEIGHTS = {
    "strict": {"assignment", "folders"},
    "library": {"declaration", "lora_names"},
    "siglip": {"declaration"},
    "animate_anyone.checkpoint": {"assignment", "conversion", "declaration", "loading"},
    "stable_animator.checkpoint": {"declaration"},
    "easy_animate.checkpoint": {"declaration"},
    **{f"metrics.{name}": {"declaration"} for name in ("i3d", "inception", "lpips", "resnet3d")},
}


def test_models_imports_of_the_project_only_what_networks_and_their_loading_need(graph):
    models, found = f"{PACKAGE}.models", {}
    for module in {models} | graph.find_descendants(models):
        imported = graph.find_modules_directly_imported_by(module)
        ours = {other.removeprefix(f"{PACKAGE}.") for other in imported if other.startswith(PACKAGE)}
        own = module.removeprefix(f"{models}.")
        allowed = {"errors", "files", "environment", *(f"weights.{name}" for name in OF_WEIGHTS.get(own, ()))}
        if more := sorted(name for name in ours - allowed if not name.startswith("models")):
            found[own] = more
    assert found == {}


def system_of(module):
    return next((part for part in module.split(".") if part in SYSTEMS), None)


def test_no_system_is_imported_by_another_or_by_what_they_share(graph):
    found = [
        f"{importer} -> {imported}"
        for importer in graph.modules
        if importer.removeprefix(f"{PACKAGE}.") not in REGISTRIES
        for imported in graph.find_modules_directly_imported_by(importer)
        if system_of(imported) not in (None, system_of(importer))
    ]
    assert found == []


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("room", SAME_FILES)
def test_systems_have_the_same_file_names(room, system):
    files = {path.stem for path in (ROOT / PACKAGE / room / system).glob("*.py")}
    assert SAME_FILES[room] <= files


# Names of the systems however they are written, and of the networks that they come from.
SYSTEM_NAMES = (
    *("animate[ _-]?anyone", "stable[ _-]?animat(?:or|ion)", "easy[ _-]?animate"),
    *("animate[ _-]?diff", "hunyuan", "pixart", "magvit"),
)
# Parts of one system's pipeline, and beginnings of its options; the names of other parts are diffusers'.
PARTS = ("denoising_unet", "reference_unet", "pose_guider", "motion_module", "pose_?net", "face_encoder")
ROOMS_OF_SYSTEMS = ("models", "pipelines", "training", "data")
# Rooms that know no system, or of which what the systems share does not.
SHARED_ROOMS = ("weights", "engine", "metrics", *ROOMS_OF_SYSTEMS)


def classes_in(paths):
    """Names of the public classes of some files, but for such as are words of every day."""
    nodes = [node for path in paths for node in ast.parse(path.read_text(encoding="utf-8")).body]
    return {node.name for node in nodes if isinstance(node, ast.ClassDef) and re.search("^[A-Z].*[A-Z]", node.name)}


def pattern_of_systems():
    """What a source must not have that is for all systems."""
    rooms = [ROOT / PACKAGE / room for room in ROOMS_OF_SYSTEMS]
    shared = classes_in(path for room in rooms for path in room.glob("*.py"))
    own = classes_in(path for room in rooms for system in SYSTEMS for path in (room / system).glob("*.py"))
    return re.compile(
        rf"(?i:{'|'.join(SYSTEM_NAMES)})|\b(?:{'|'.join(PARTS)})|\b(?:{'|'.join(sorted(own - shared))})\b"
    )


def lines_with(pattern, text):
    """Lines of a source, comments and docstrings among them, in which a pattern is found."""
    return [line.strip() for line in text.splitlines() if pattern.search(line)]


def shared_files():
    """Path from the package, and text, of each file that belongs to no system and is no registry of them."""
    for room in SHARED_ROOMS:
        for path in sorted((ROOT / PACKAGE / room).rglob("*.py")):
            name = path.relative_to(ROOT / PACKAGE).with_suffix("").as_posix().replace("/", ".")
            if system_of(name) is None and name not in REGISTRIES:
                text = path.read_text(encoding="utf-8")
                yield name, without_docstring(text) if name.startswith("data.chain.") else text


def without_docstring(text):
    """A source without that of its module, which credits repositories that have the names of systems."""
    found = ast.get_docstring(ast.parse(text), clean=False) or ""
    return text.replace(found, "", 1)


def test_what_systems_share_knows_none_of_them():
    pattern = pattern_of_systems()
    assert {name: found for name, text in shared_files() if (found := lines_with(pattern, text))} == {}


@pytest.mark.parametrize(
    "line",
    [
        'if type(model).__name__ == "ReferenceUNet":',
        "# As Moore-AnimateAnyone has it.",
        'kind = {"denoising_unet": 1}',
        "pipeline.pose_guider.eval()",
        "from ppdiffusers_ext.models.easy_animate import vae",
        "def load(path: str) -> HunyuanTransformer3D:",
    ],
)
def test_check_of_names_sees_them_wherever_they_are(line):
    assert lines_with(pattern_of_systems(), f"x = 1\n{line}\n") == [line]


def test_check_of_names_leaves_those_of_libraries_alone():
    assert lines_with(pattern_of_systems(), "unet, vae, image_encoder = load(AutoencoderKL, transformer)\n") == []


@pytest.mark.parametrize("outside", ["scripts", "examples", "tests", "benchmarks", "torch", "pytest"])
def test_library_does_not_import(graph, outside):
    importers = graph.find_modules_that_directly_import(outside) if outside in graph.modules else set()
    assert importers == OUTSIDE.get(outside, set())


# ComfyUI's tensors are torch's; it is imported when there is one to be made.
OUTSIDE = {"torch": {f"{PACKAGE}.comfyui.tensors"}}


def test_checks_of_arrows_see_a_forbidden_import(graph):
    graph = graph.__deepcopy__({})
    graph.add_import(importer=f"{PACKAGE}.models.layers", imported=f"{PACKAGE}.pipelines.steps")
    assert chains(graph, f"{PACKAGE}.models", f"{PACKAGE}.pipelines") == [
        f"{PACKAGE}.models.layers -> {PACKAGE}.pipelines.steps"
    ]


# Files that make flags of declared options; launch.py takes all words as they are.
MAKERS_OF_FLAGS = {"command.py", "options.py", "launch.py"}


def tables_of_options(text):
    """Lines of a source at which an argument is added to a parser."""
    calls = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if getattr(call.func, "attr", "").startswith("add_argument")]


def test_commands_declare_their_options_in_dataclasses():
    paths = [path for path in (ROOT / "scripts").glob("*.py") if path.name not in MAKERS_OF_FLAGS]
    found = {path.name: lines for path in paths if (lines := tables_of_options(path.read_text(encoding="utf-8")))}
    assert found == {} and len(paths) > 20
    assert tables_of_options("parser.add_argument('--x')\nparser.add_argument_group('y')") == [1, 2]


def test_no_file_is_longer_than_an_idea():
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES} == {}


def functions():
    """(where, file name, function name, lines of all, lines after signature and docstring) of every function."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                where = f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                lines = [node.end_lineno - start + 1 for start in (node.lineno, body[0].lineno)]
                yield where, path.name, node.name, *lines


def test_no_function_is_longer_than_a_page():
    long = {
        where: lines
        for where, file, name, lines, _ in functions()
        if lines > MAX_FUNCTION_LINES and (file, name) not in LONG_FUNCTIONS
    }
    assert long == {}


def test_no_function_does_more_than_a_page():
    assert {where: lines for where, _, _, _, lines in functions() if lines > MAX_FUNCTION_LINES} == {}


def test_every_folder_of_the_library_is_a_package():
    folders = {path.parent for path in (ROOT / PACKAGE).rglob("*.py")}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


# Modules that no test imports, nor a module that one imports -> the test that covers them.
COVERED = {
    "comfyui.in_process.animate_anyone": "comfyui/test_animate_anyone.py",
    "comfyui.in_process.easy_animate": "comfyui/test_easy_animate.py",
    "comfyui.in_process.measuring": "comfyui/test_animate_anyone.py",
    "comfyui.in_process.stable_animator": "comfyui/test_stable_animator.py",
    "commands.__main__": "commands/test_program.py",
    "models.easy_animate.motion": "models/easy_animate/test_easy_animate.py",
    "models.easy_animate.option_rules": "models/test_option_rules.py",
    "models.easy_animate.vae_tiles": "pipelines/easy_animate/test_video_coding.py",
    "pipelines.moving": "pipelines/test_api.py",
    "pipelines.opening": "pipelines/test_api.py",
    "pipelines.saving": "pipelines/test_api.py",
    "training.help": "training/test_parser.py",
    "training.logs": "scripts/test_trainers.py",
}


def test_every_module_is_near_a_test(graph):
    """It has a test of its name, or one that imports it, or a module or package that does; others are in `COVERED`."""
    files = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    named = {name for path in files for name in _imported(ast.parse(path.read_text(encoding="utf-8")))}
    own = {name for name in graph.modules if name.startswith(f"{PACKAGE}.")}
    modules = {name for name in own if (ROOT / f"{name.replace('.', '/')}.py").is_file()}
    tested = {name for name in own if name in named or _mirror(name).is_file()}
    near = tested | {name for name in modules if graph.find_modules_that_directly_import(name) & tested}
    assert {name.removeprefix(f"{PACKAGE}.") for name in modules - near} == COVERED.keys()
    assert [test for test in COVERED.values() if not (ROOT / "tests" / test).is_file()] == []


def _mirror(module):
    *folders, name = module.split(".")[1:]
    return ROOT.joinpath("tests", *folders, f"test_{name}.py")


def _imported(tree):
    """Names of the modules, and of what is in them, that a file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{item.name}" for item in node.names))
        elif isinstance(node, ast.Import):
            yield from (item.name for item in node.names)
