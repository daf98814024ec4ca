"""`gaitforge doctor`: what is installed, what is missing, and what to type."""

from __future__ import annotations

import logging
import os
import platform
import shlex
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from trainers.cluster.requirements import find_version, read_needs, write_range

if TYPE_CHECKING:
    from gaitforge.settings import RunSettings
    from trainers.arithmetic.check import Outcome
    from trainers.cluster.listening import Listener
    from trainers.cluster.node import NodeFacts

# port -> whose it is by itself, and how that is told to take another
PORTS = {
    8501: ("dashboard", "gaitforge dashboard --port 8502"),
    6379: ("Ray's head", "ray start --head --port=6380"),
    8265: ("Ray's jobs", "ray start --head --dashboard-port=8266"),
}
# of a cluster that others started, whose nodes must reach each other
JOINED = "every node, on all its addresses: Ray guarded by the token, a teacher's workers by nothing (docs/security.md)"
GIB = 1 << 30
COLUMNS = (
    "node",
    "cores",
    "GPUs",
    "memory",
    "python",
    "ray",
    "torch",
    "work folder",
    "/tmp",
    "gradients",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `fault` says what is wrong with it and what to type."""

    what: str
    found: str
    fault: str = ""
    install: str = ""  # what pip is to be given


@dataclass(frozen=True, slots=True)
class Section:
    """Findings under one heading, and a table where they are several of one kind."""

    heading: str
    findings: Sequence[Finding]
    table: Sequence[Sequence[str]] = ()  # the first row names the columns


def examine(path: Path | None) -> int:
    """Print the findings; return 0 where the work can start, 1 where something is missing.

    Raises what reading a run.toml raises, before anything is printed.
    """
    needs = read_needs()
    packages = list(examine_packages(needs.packages))
    broken = any(finding.fault for finding in packages)
    settings = None
    if path is not None and not broken:  # it is read with some of them
        from gaitforge.settings import read_settings

        settings = read_settings(path)
    faults = []
    for section in _sections(needs.python, packages, path, settings):
        print(render(section), flush=True)
        faults += [f.fault for f in section.findings if f.fault and not f.install]
    if broken:
        lacking = shlex.join(finding.install for finding in packages if finding.install)
        faults.append(f"Packages are missing, or of other versions: pip install {lacking}")
    if path is not None and broken:
        print(f"{path} is looked at when the packages are right.\n")
    if not faults:
        print("Nothing is missing.")
        return 0
    print(f"{len(faults)} fault{'' if len(faults) == 1 else 's'}:")
    for fault in faults:
        print(f"  {fault}")
    return 1


def render(section: Section) -> str:
    """Format a section as aligned lines; what has a fault begins with an exclamation mark."""
    width = max((len(finding.what) for finding in section.findings), default=0)
    lines = [
        f"{'!' if finding.fault else ' '} {finding.what:<{width}}  {finding.found}".rstrip()
        for finding in section.findings
    ]
    if section.table:
        widths = [max(map(len, column)) for column in zip(*section.table, strict=True)]
        lines += [
            "  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in section.table
        ]
    return "\n".join([section.heading, *lines, ""])


def _sections(
    python: SpecifierSet,
    packages: Sequence[Finding],
    path: Path | None,
    settings: RunSettings | None,
) -> Iterator[Section]:
    yield Section("This machine", [*examine_machine(python), *examine_gpus()])
    yield Section("Packages", packages)
    if not any(finding.fault for finding in packages):
        if extensions := list(examine_extensions()):
            yield Section("Extensions", extensions)
        yield Section("Gradients", list(examine_gradients(settings)))
    yield Section("Ports", [examine_port(port, *names) for port, names in PORTS.items()])
    if find_version("ray") is not None:
        yield Section("Access", [examine_token(), examine_guard()])
    if settings is not None:
        yield Section(str(path), list(examine_storage(settings)))
        yield examine_cluster(settings)


# this machine


def examine_machine(python: SpecifierSet) -> Iterator[Finding]:
    """Report Python, cores and memory; a fault is a Python that pyproject.toml does not allow."""
    here = platform.python_version()
    fault = (
        ""
        if python.contains(here, prereleases=True)
        else f"Python is {here}, but must be {write_range(python)}: make the environment with such a one, as "
        "`python3.12 -m venv .venv`."
    )
    yield Finding("python", f"{here} in {sys.prefix}", fault)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    yield Finding("cores", f"{os.cpu_count()}, with {memory / GIB:.1f} GiB of memory")


def examine_gpus() -> Iterator[Finding]:
    """Report CUDA devices with their memory, and what the selective scan would run on.

    A fault is a GPU whose driver is there, but which torch does not use.
    """
    try:
        import torch
    except ImportError:
        return  # among the packages it is missing already
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        free, _ = torch.cuda.mem_get_info(index)
        yield Finding(
            f"GPU {index}",
            f"{device.name}, {free / GIB:.0f} of {device.total_memory / GIB:.0f} GiB free",
        )
    if not torch.cuda.is_available():
        driver = Path("/proc/driver/nvidia/version").exists()
        fault = (
            f"There is a GPU driver, but torch {torch.__version__} does not use it: install a CUDA build, as `pip "
            "install --force-reinstall torch` without the index of CPU builds."
        )
        yield Finding(
            "GPU", "none: everything runs on the CPU", fault if driver else ""
        )  # fmt: skip
    yield Finding("scan", _scan())


def _scan() -> str:
    from gaitforge.models.scan_cuda import find_mamba_scan

    numba = find_version("numba")
    cpu = (
        f"numba {numba} on a CPU"
        if numba
        else "plain torch on a CPU, many times slower than numba"
    )
    if find_mamba_scan() is None:
        return f"{cpu}; plain torch on a GPU: mamba-ssm with its CUDA kernels is not here"
    return f"{cpu}; mamba-ssm {find_version('mamba-ssm')} on a GPU"


# packages


def examine_packages(needed: Sequence[Requirement]) -> Iterator[Finding]:
    """Report each dependency with its version; a fault is one outside the range that pyproject.toml gives it."""
    for requirement in needed:
        name, wanted = requirement.name, write_range(requirement.specifier)
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        install = f"{name}{extras}{wanted}"
        here = find_version(name)
        if here is None:
            yield Finding(name, f"{'missing':<14}  {wanted}", "missing", install)
        elif requirement.specifier.contains(Version(here), prereleases=True):
            yield Finding(name, f"{here:<14}  {wanted}")
        else:
            yield Finding(name, f"{here:<14}  {wanted} is needed", "out of its range", install)


def examine_extensions() -> Iterator[Finding]:
    """Load what installed packages extend us by, and report each with its package; a fault is what cannot be loaded."""
    from gaitforge.extensions import FAMILY, SPACE, find_extensions, load
    from search_spaces import SPACES

    extensions = find_extensions()
    for extension in extensions:
        found = f"of {extension.package} {extension.version}"
        try:
            load(extension, SPACES)
        except ValueError as error:
            yield Finding(extension.what, f"{found}, cannot be added", str(error))
            continue
        if extension.group == FAMILY and extension.name not in {
            item.name for item in extensions if item.group == SPACE
        }:
            found += "; without a search space, it can be a teacher's only"
        yield Finding(extension.what, found)


# arithmetic


def examine_gradients(settings: RunSettings | None) -> Iterator[Finding]:
    """Check anew whether this machine computes right gradients for the run's families, or for all without a run."""
    from trainers.arithmetic.check import Asked, examine

    for family in list_trained_families(settings):
        threads = 1 if settings is None else settings.cluster.cpus_per_trial
        yield report_gradients(family, examine(Asked.typical(family), threads, anew=True))


def list_trained_families(settings: RunSettings | None) -> list[str]:
    """List the families that a run trains, or all without settings."""
    from gaitforge.models import FAMILIES

    known = sorted(FAMILIES)
    if settings is None:
        return known
    named = {settings.teacher.family, *settings.search.families}
    return [family for family in known if family in named]


def report_gradients(what: str, outcome: Outcome) -> Finding:
    """Report what was found of one family; one that is right without oneDNN alone has no fault."""
    if outcome.state == "right":
        return Finding(what, f"right, to {outcome.error:.0e} of float64's")
    return Finding(what, outcome.sentence, outcome.sentence if outcome.state == "wrong" else "")


# ports and access


def examine_port(port: int, owner: str, elsewhere: str) -> Finding:
    """Report whether a port of this machine is taken, by whom, and how its owner is told to take another."""
    with socket.socket() as asking:
        asking.settimeout(1.0)
        if asking.connect_ex(("127.0.0.1", port)) != 0:
            return Finding(f"{port}", f"free ({owner})")
    return Finding(f"{port}", f"taken by {_listener(port)}; another for {owner}: {elsewhere}")


def _listener(port: int) -> str:
    """Name the command that listens on a port, as far as /proc tells this user."""
    from trainers.cluster.listening import find_listeners

    for process in Path("/proc").glob("[0-9]*"):
        for listener in find_listeners([int(process.name)]):
            if listener.port == port:
                return f"{listener.process} (process {process.name})"
    return "another user's process"


def examine_guard() -> Finding:
    """Report whether a Ray that a run starts here asks for its token; a fault is an environment that turns it off."""
    from trainers.cluster.token import check_guard

    try:
        check_guard()
    except OSError as error:
        return Finding("local runs", "cannot start", str(error))
    return Finding(
        "local runs",
        "their Ray listens on 127.0.0.1 alone, and lets nobody in without the token (docs/security.md)",
    )


def examine_listening(listeners: Sequence[Listener]) -> Finding:
    """Report on what a Ray of this machine alone listens; a fault is what other machines can reach."""
    beyond = sorted({f"{one.process} on {one.address}" for one in listeners if one.is_beyond})
    if beyond:
        told = ", ".join(beyond)
        return Finding(
            "listens",
            f"beyond this machine: {told}",
            f"Ray listens beyond this machine ({told}), guarded by its token only: install the Ray of constraints.txt.",
        )
    return Finding("listens", f"{len(listeners)} ports, all on this machine's loopback")


def examine_token() -> Finding:
    """Report whether this machine has a token for clusters, and whether others can read it."""
    from trainers.cluster.joining import find_token

    path = Path.home() / ".ray" / "auth_token"
    if not find_token():
        return Finding(
            "token",
            "none: a cluster of several machines needs one, `ray get-auth-token --generate`",
        )
    if os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return Finding("token", "in RAY_AUTH_TOKEN")
    named = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or path)
    if named.stat().st_mode & 0o077:  # as Ray itself writes it, until a run of ours starts
        return Finding("token", f"in {named}, which others here can read: chmod 600 {named}")
    return Finding("token", f"in {named}")


# run.toml


def examine_storage(settings: RunSettings) -> Iterator[Finding]:
    """Check the settings; report the work folder, written and read, and where this node keeps its windows."""
    from trainers.pipeline import Line

    line = Line(settings)
    line.check()
    yield Finding("settings", "good")
    if "://" in settings.work:
        yield Finding("work folder", f"{settings.work}, an object store")
    else:
        yield examine_folder("work folder", Path(settings.work))
    yield Finding("node cache", f"{line.cache}, {_free(line.cache)}")


def examine_folder(what: str, folder: Path) -> Finding:
    """Check that a folder gives back what is written to it; report what is left of its disk."""
    probe = folder / f".probe-{uuid.uuid4().hex}"
    data = os.urandom(4096)
    try:
        probe.write_bytes(data)
        same = probe.read_bytes() == data
        probe.unlink()
    except OSError as error:
        return Finding(
            what,
            f"{folder} cannot be used ({error.strerror})",
            f"The {what} {folder} cannot be used ({error.strerror}): free it, or choose another.",
        )
    if not same:
        return Finding(what, f"{folder} gives back other data", f"The disk of {folder} is broken.")
    return Finding(what, f"{folder}, written and read, {_free(folder)}, {_open_to(folder)}")


def _open_to(folder: Path) -> str:
    """Say who may read in a folder, and so in all that a run makes there."""
    mode = folder.stat().st_mode
    for others, who in ((0o007, "everybody here"), (0o070, "its group")):
        if mode & others:
            return f"open to {who}: chmod 700 {folder} for yourself alone"
    return "open to you alone"


def _free(folder: Path) -> str:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return f"{shutil.disk_usage(there).free / GIB:.0f} GiB free"


# the cluster


def examine_cluster(settings: RunSettings) -> Section:
    """Report what the run's cluster has; of a joined one, a row for every node."""
    import ray

    from gaitforge.work import open_path
    from trainers.cluster.connection import (
        connect,
        count_concurrent_trials,
        gpus_per_trial,
        list_nodes,
    )
    from trainers.cluster.listening import find_family, find_listeners

    address = settings.cluster.address
    heading = f"Cluster '{address}'"
    found: list[Finding] = []
    table: list[list[str]] = []
    try:
        if address == "local":
            connect(settings.cluster, open_path(settings.work))
            found.append(examine_listening(find_listeners(find_family(os.getpid()))))
        else:
            faults, table = examine_nodes(settings, open_path(settings.work))
            found += [*faults, Finding("listens", JOINED)]
        cores, gpus = sum(n.cores for n in list_nodes()), sum(n.gpus for n in list_nodes())
        trials = count_concurrent_trials(settings.cluster, gpus_per_trial(settings.cluster))
        at_once = f"{trials} trial{'' if trials == 1 else 's'} at a time"
        found.insert(0, Finding("all", f"{cores:g} cores, {gpus:g} GPUs, {at_once}"))
    except (OSError, ValueError, RuntimeError) as error:
        found.append(Finding("all", "cannot be used", str(error)))
    finally:
        ray.shutdown()
    return Section(heading, found, table)


def examine_nodes(settings: RunSettings, shared: Path) -> tuple[list[Finding], list[list[str]]]:
    """Join a cluster and have each node say what it has; return the faults of nodes, and the table of all."""
    import ray

    from trainers.cluster.joining import check_address, find, ship_code, survey
    from trainers.cluster.token import use_token

    there = find(settings.cluster.address)
    check_address(there)
    use_token(there)
    ray.init(
        address=there, log_to_driver=False, logging_level=logging.ERROR, runtime_env=ship_code({})
    )
    found = survey(shared)
    resources = {
        str(node["NodeManagerAddress"]): node["Resources"]
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    }
    faults: list[Finding] = []
    for fact in found.nodes:
        faults += find_node_faults(found.here, fact, fact.name in found.seen)
    # with other versions, or without what is missing there, a node could not say
    outcomes = [] if faults else check_gradients_of_nodes(settings)
    for outcome in outcomes:
        if outcome.state != "right":
            faults.append(report_gradients(outcome.machine, outcome))
    rows = [
        format_node_row(
            fact,
            resources.get(fact.name, {}),
            fact.name in found.seen,
            [outcome for outcome in outcomes if outcome.machine == fact.name],
        )
        for fact in found.nodes
    ]
    return faults, [list(COLUMNS), *rows]


def check_gradients_of_nodes(settings: RunSettings) -> list[Outcome]:
    """Check the gradients of the run's families on every node of the joined cluster."""
    from trainers.arithmetic.check import Asked
    from trainers.arithmetic.machines import ask_machines

    asked = [Asked.typical(family) for family in list_trained_families(settings)]
    return ask_machines(settings.cluster, asked, settings.cluster.cpus_per_trial, anew=True)


def find_node_faults(here: NodeFacts, node: NodeFacts, seen: bool) -> Iterator[Finding]:
    """Yield why a node could not work together with this machine.

    `seen` says that what the node wrote to the work folder was found there.
    """
    from trainers.cluster.joining import check_versions

    if node.fault or not seen:
        reason = node.fault or "what it wrote is not there"
        yield Finding(
            node.name,
            f"does not share the work folder ({reason})",
            f"The node {node.name} does not share the work folder: mount it at the same path on every node, open to "
            "the user that Ray runs as there, or set 'work' to a folder that all see.",
        )
    try:
        check_versions(here, node)
    except ValueError as error:
        yield Finding(node.name, "has other versions", str(error))


def format_node_row(
    node: NodeFacts,
    resources: Mapping[str, float],
    seen: bool,
    outcomes: Sequence[Outcome] = (),
) -> list[str]:
    """Return a node's row of the table, whose columns are COLUMNS."""
    kinds = [name.partition(":")[2] for name in resources if name.startswith("accelerator_type:")]
    return [
        node.name + (" (head)" if "node:__internal_head__" in resources else ""),
        f"{resources.get('CPU', 0):g}",
        " ".join([f"{resources.get('GPU', 0):g}", *kinds]),
        f"{resources.get('memory', 0) / GIB:.1f} GiB",
        *(node.versions[name] or "none" for name in ("python", "ray", "torch")),
        "shared" if seen and not node.fault else "not shared",
        f"{node.free_bytes / GIB:.0f} GiB free",
        ", ".join(outcome.words for outcome in outcomes) or "not looked at",
    ]
