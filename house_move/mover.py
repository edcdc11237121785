#!/usr/bin/env python3
"""Moves the source tree of dermlens to the house of design.md: merges modules, moves symbols, rewrites every reference.

    python mover.py CHECKOUT            rewrite a checkout in place
    python mover.py CHECKOUT --plan     print old → new with line counts; write nothing
    python mover.py CHECKOUT --no-edits the mechanical move alone, without the hand edits of edits.py

Deterministic; the standard library only. map.py holds what goes where, edits.py the few hand edits. Anything that is
not settled by the map (a clash of names, a module whose package goes away, an edit that no longer applies) is listed,
and the exit code is 1. The checkout is only written when all is settled, but for failed hand edits.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import io
import re
import shutil
import subprocess
import sys
import textwrap
import tokenize
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.dont_write_bytecode = True
import edits as EDITS  # noqa: E402
import map as MAP  # noqa: E402

PY_ROOTS = ("src", "tests", "benchmarks", "examples", "paper", "related", "docs", ".ci")
PROBLEMS: list[str] = []
NOTES: list[str] = []


def problem(text: str) -> None:
    if text not in PROBLEMS:
        PROBLEMS.append(text)


# ---------------------------------------------------------------- names of modules and their files


def module_of(path: str) -> str | None:
    """src/dermlens/a/b.py → dermlens.a.b; tests/a/b.py → tests.a.b."""
    parts = path.removesuffix(".py").split("/")
    if parts[0] == "src":
        parts = parts[1:]
    elif parts[0] != "tests":
        return None
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


def file_of(module: str, packages: set[str]) -> str:
    stem = module.replace(".", "/")
    tail = "/__init__.py" if module in packages else ".py"
    return (f"src/{stem}" if module.split(".")[0] == "dermlens" else stem) + tail


# ---------------------------------------------------------------- scopes


@dataclass(eq=False)
class Scope:
    kind: str
    parent: Scope | None
    names: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)  # global and nonlocal

    def find(self, name: str) -> Scope | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names and name not in scope.outer and (scope.kind != "class" or scope is self):
                return scope
            scope = scope.parent
        return None

    def chain(self):
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent


class Scopes(ast.NodeVisitor):
    """The scope of every node that matters: names, imports, calls."""

    def __init__(self, tree: ast.Module) -> None:
        self.top = self.now = Scope("module", None)
        self.of: dict[ast.AST, Scope] = {}
        self.joined: dict[ast.AST, ast.JoinedStr] = {}
        self.inside: ast.JoinedStr | None = None
        self.visit(tree)

    def visit_JoinedStr(self, node):
        outer, self.inside = self.inside, self.inside or node
        self.generic_visit(node)
        self.inside = outer

    def bind(self, name: str) -> None:
        self.now.names.add(name)

    def visit_Name(self, node):
        self.of[node] = self.now
        if self.inside is not None:
            self.joined[node] = self.inside
        if not isinstance(node.ctx, ast.Load):
            self.bind(node.id)

    def visit_Attribute(self, node):
        self.of[node] = self.now
        if self.inside is not None:
            self.joined[node] = self.inside
        self.generic_visit(node)

    def visit_Call(self, node):
        self.of[node] = self.now
        self.generic_visit(node)

    def _import(self, node):
        self.of[node] = self.now
        for alias in node.names:
            self.bind(alias.asname or alias.name.split(".")[0])

    visit_Import = visit_ImportFrom = _import

    def visit_ExceptHandler(self, node):
        if node.name:
            self.bind(node.name)
        self.generic_visit(node)

    def _match(self, node):
        name = getattr(node, "name", None) or getattr(node, "rest", None)
        if name:
            self.bind(name)
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = visit_MatchMapping = _match

    def _outer(self, node):
        self.now.outer.update(node.names)

    visit_Global = visit_Nonlocal = _outer

    def visit_NamedExpr(self, node):
        here = self.now
        while self.now.kind == "comp":
            self.now = self.now.parent
        self.visit(node.target)
        self.now = here
        self.of[node.target] = here
        self.visit(node.value)

    def _function(self, node):
        for part in (*getattr(node, "decorator_list", ()), *node.args.defaults, *node.args.kw_defaults):
            if part is not None:
                self.visit(part)
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        every += [one for one in (node.args.vararg, node.args.kwarg) if one]
        for arg in every:
            if arg.annotation:
                self.visit(arg.annotation)
        if getattr(node, "returns", None):
            self.visit(node.returns)
        if not isinstance(node, ast.Lambda):
            self.bind(node.name)
        outer, self.now = self.now, Scope("lambda" if isinstance(node, ast.Lambda) else "func", self.now)
        for arg in every:
            self.bind(arg.arg)
        for part in [node.body] if isinstance(node, ast.Lambda) else node.body:
            self.visit(part)
        self.now = outer

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function

    def visit_ClassDef(self, node):
        for part in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(part)
        self.bind(node.name)
        outer, self.now = self.now, Scope("class", self.now)
        for part in node.body:
            self.visit(part)
        self.now = outer

    def _comp(self, node):
        self.visit(node.generators[0].iter)
        outer, self.now = self.now, Scope("comp", self.now)
        for place, generator in enumerate(node.generators):
            self.visit(generator.target)
            if place:
                self.visit(generator.iter)
            for test in generator.ifs:
                self.visit(test)
        for name in ("key", "value", "elt"):
            if hasattr(node, name):
                self.visit(getattr(node, name))
        self.now = outer

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comp


# ---------------------------------------------------------------- a file


@dataclass(eq=False)
class Group:
    """A top-level statement, the comments before it and the strings after it."""

    start: int
    end: int
    nodes: list[ast.stmt]
    names: tuple[str, ...]
    kind: str  # code, import, typing


class File:
    def __init__(self, path: str, data: bytes) -> None:
        self.path, self.data = path, data
        self.text = data.decode()
        self.module = module_of(path)
        self.tree = ast.parse(self.text)
        self.lines = [0]
        for line in data.split(b"\n"):
            self.lines.append(self.lines[-1] + len(line) + 1)
        self.scopes = Scopes(self.tree)
        self.docstring = ast.get_docstring(self.tree, clean=True)
        self.groups: list[Group] = []
        self.edits: list[tuple[int, int, str]] = []
        self._group()
        self.defs = {name for group in self.groups if group.kind == "code" for name in group.names}
        self.imports: dict[str, tuple[str, str | None]] = {}  # local name → (module, symbol or None)

    def at(self, line: int, column: int) -> int:
        return self.lines[line - 1] + column

    def span(self, node) -> tuple[int, int]:
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    def source(self, node) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def _group(self) -> None:
        body = list(self.tree.body)
        after = 0
        if self.docstring is not None:
            after = self.lines[body[0].end_lineno]
            body = body[1:]
        self.body_start = after
        for node in body:
            end = min(self.lines[node.end_lineno], len(self.data))
            names: list[str] = []
            kind = "code"
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                kind = "import"
            elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" and not node.orelse:
                kind = "typing"
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                names = [node.name]
            else:
                for sub in ast.walk(node):
                    if isinstance(sub, ast.Name) and isinstance(sub.ctx, ast.Store) and self.scopes.of[sub].kind == "module":
                        names.append(sub.id)
                    elif isinstance(sub, (ast.FunctionDef, ast.ClassDef)) and sub in getattr(node, "body", ()):
                        names.append(sub.name)
            string = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            if string and self.groups and self.groups[-1].kind == "code":
                last = self.groups[-1]
                last.end, after = end, end
                last.nodes.append(node)
                continue
            if kind == "code" and isinstance(node, ast.Assign) and not names and self.groups:
                # X.y = … belongs to what it follows
                last = self.groups[-1]
                if last.kind == "code":
                    last.end, after = end, end
                    last.nodes.append(node)
                    continue
            self.groups.append(Group(after, end, [node], tuple(dict.fromkeys(names)), kind))
            after = end
        self.tail = self.data[after:].decode()

    def edit(self, start: int, end: int, new: str) -> None:
        if self.data[start:end].decode() != new and (start, end, new) not in self.edits:
            self.edits.append((start, end, new))

    def render(self, start: int, end: int) -> str:
        """A stretch with its edits."""
        out, at = [], start
        for begin, stop, new in sorted(edit for edit in self.edits if start <= edit[0] and edit[1] <= end):
            if begin < at:
                problem(f"{self.path}: edits overlap at byte {begin}: {new!r}")
                continue
            out += [self.data[at:begin].decode(), new]
            at = stop
        return "".join(out) + self.data[at:end].decode()


# ---------------------------------------------------------------- the whole


class Mover:
    def __init__(self, root: Path, before: dict[str, str]) -> None:
        self.root = root
        self.before = before
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True, check=True
        ).stdout.decode()
        self.tracked = sorted(p for p in set(listed.split("\0")) if p and (root / p).is_file() and not (root / p).is_symlink())
        self.files: dict[str, File] = {}
        for path in self.tracked:
            if path.endswith(".py") and path.split("/")[0] in PY_ROOTS:
                try:
                    edited = before[path].encode() if path in before else (root / path).read_bytes()
                    self.files[path] = File(path, edited)
                except SyntaxError as error:
                    problem(f"{path}: {error}")
        self.by_module = {f.module: f for f in self.files.values() if f.module}
        self.packages = {f.module for f in self.files.values() if f.module and f.path.endswith("__init__.py")}
        self._plan()
        for f in self.files.values():
            self._bindings(f)

    # ------------------------------------------------------------ where things go

    def _plan(self) -> None:
        self.target: dict[str, str] = {}
        self.about: dict[str, str | None] = {}
        self.order: dict[str, list[str]] = defaultdict(list)
        gone = set(MAP.GONE)
        for new, about, olds in MAP.MODULES:
            self.about[new] = about
            for old in olds:
                if old in self.target:
                    problem(f"map: {old} is mapped twice")
                if old not in self.by_module:
                    NOTES.append(f"map: {old} is not in this tree")
                    continue
                self.target[old] = new
                self.order[new].append(old)
        self.new_packages = set(MAP.PACKAGES)
        for old, f in sorted(self.by_module.items()):
            if old in self.target or old in gone:
                continue
            if old.startswith("tests"):
                new = self._test_target(old)
            elif old in self.packages:
                if old in self.new_packages:
                    new = old
                elif f.defs:
                    problem(f"package {old} goes away, and its __init__ has definitions: add it to the map")
                    continue
                else:
                    gone.add(old)
                    continue
            elif old.rpartition(".")[0] in self.new_packages:
                new = old
                NOTES.append(f"not in the map, stays: {old}")
            else:
                problem(f"not in the map, and its package goes away: {old} (say where it goes in map.py)")
                continue
            if new in self.order and not old.startswith("tests"):
                problem(f"{old} stays, and the map puts another module in its place")
            self.target[old] = new
            self.order[new].append(old)
        self.gone = gone
        for old, new in self.target.items():
            if old.startswith("tests") and len(self.order[new]) > 1:
                problem(f"two test files become {new}: {self.order[new]}")

    def _test_target(self, old: str) -> str:
        if old in MAP.TESTS:
            return MAP.TESTS[old]
        package, _, stem = old.rpartition(".")
        if stem.startswith("test_"):
            module = package.replace("tests", "dermlens", 1) + "." + stem.removeprefix("test_")
            where = MAP.TEST_OF.get(old) or self.target.get(module)
            if where is not None:
                home = where.rpartition(".")[0]
                home = "tests" + home.removeprefix("dermlens") if home.split(".")[0] == "dermlens" else f"tests.{home}"
                return f"{home}.{stem}"
        for prefix, new in MAP.TEST_FOLDERS:
            if package == prefix or package.startswith(prefix + "."):
                return f"{new}{package.removeprefix(prefix)}.{stem}"
        return old

    def place(self, module: str, name: str) -> tuple[str, str]:
        """The new module and name of a symbol that an old module defines."""
        key = f"{module}:{name}"
        return MAP.MOVES.get(key) or self.target.get(module, module), MAP.RENAMES.get(key, name)

    # ------------------------------------------------------------ imports of an old file

    def absolute(self, f: File, node: ast.ImportFrom) -> str | None:
        """The old first-party module that is imported from."""
        name = node.module or ""
        if node.level:
            base = (f.module or "").split(".")
            base = base if f.path.endswith("__init__.py") else base[:-1]
            base = base[: len(base) - node.level + 1]
            name = ".".join([*base, name] if name else base)
        elif name.split(".")[0] != "dermlens":
            name = f"tests.{name}" if f"tests.{name}" in self.by_module or self._is_test_folder(name) else name
        return name if name.split(".")[0] in ("dermlens", "tests") else None

    def _is_test_folder(self, name: str) -> bool:
        return bool(name) and any(m.startswith(f"tests.{name}.") for m in self.by_module) and name not in sys.stdlib_module_names

    def _bindings(self, f: File) -> None:
        f.first = {}  # import node → list of (local, module, symbol or None, aliased)
        f.local = defaultdict(dict)  # scope → local → (module, symbol or None)
        for node, scope in f.scopes.of.items():
            if isinstance(node, ast.ImportFrom) and (module := self.absolute(f, node)):
                rows = []
                for alias in node.names:
                    local = alias.asname or alias.name
                    if f"{module}.{alias.name}" in self.by_module and not self.defines(module, alias.name):
                        rows.append((local, f"{module}.{alias.name}", None, alias.asname is not None))
                    elif module in self.by_module:
                        home, name = self.origin(module, alias.name)
                        rows.append((local, home, name, alias.asname is not None))
                    else:
                        problem(f"{f.path}:{node.lineno}: no module {module}")
                        continue
                    f.local[scope][local] = rows[-1][1:3]
                f.first[node] = rows
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == "dermlens" and "." in alias.name:
                        problem(f"{f.path}:{node.lineno}: import {alias.name} is not handled: write from … import …")

    def defines(self, module: str, name: str) -> bool:
        f = self.by_module.get(module)
        if f is None:
            return False
        if name in f.defs:
            return True
        return any(
            (a.asname or a.name) == name
            for g in f.groups
            if g.kind == "import" and isinstance(g.nodes[0], ast.ImportFrom)
            for a in g.nodes[0].names
            if not (f"{self.absolute(f, g.nodes[0])}.{a.name}" in self.by_module)
        )

    def origin(self, module: str, name: str, seen: frozenset = frozenset()) -> tuple[str, str | None]:
        """Who defines what an old module gives under a name."""
        f = self.by_module.get(module)
        if f is None or name in f.defs or (module, name) in seen:
            return module, name
        for g in f.groups:
            node = g.nodes[0]
            if g.kind == "import" and isinstance(node, ast.ImportFrom) and (base := self.absolute(f, node)):
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        if f"{base}.{alias.name}" in self.by_module and not self.defines(base, alias.name):
                            return f"{base}.{alias.name}", None
                        return self.origin(base, alias.name, seen | {(module, name)})
        return module, name

    # ------------------------------------------------------------ rewriting the references of a file

    def import_text(self, importer: str | None, module: str, name: str | None, local: str) -> str:
        """One import statement of a new module's symbol, or of the new module itself."""
        if module.startswith("tests"):
            if importer and importer.startswith("tests") and importer.rpartition(".")[0] == module.rpartition(".")[0] != "tests":
                base, leaf = ".", module.rpartition(".")[2]
                base = f".{leaf}" if name else "."
            else:
                base = module.removeprefix("tests.")
            if name is None:
                package, _, leaf = module.removeprefix("tests.").rpartition(".")
                return f"from {package} import {leaf}" + (f" as {local}" if local != leaf else "") if package else f"import {leaf}"
        elif name is None:
            package, _, leaf = module.rpartition(".")
            return f"from {package} import {leaf}" + (f" as {local}" if local != leaf else "")
        else:
            base = module
        return f"from {base} import {name}" + (f" as {local}" if local != name else "")

    def rewrite(self, f: File, home) -> None:
        """Plan all edits of a file. home(name or None) → the new module that a place of this file goes to.

        Fills f.plan: scope → local → (new local name or None when it is the module itself's name, import texts).
        """
        f.wanted = defaultdict(dict)  # import node → ordered import texts

        def own_of(node) -> str | None:
            return home(self._top_name(f, node))

        uses: dict[tuple[Scope, str], list[ast.Name]] = defaultdict(list)
        for node, scope in f.scopes.of.items():
            if isinstance(node, ast.Name):
                found = scope.find(node.id)
                if found is not None:
                    uses[found, node.id].append(node)
        parents = {}
        for node in ast.walk(f.tree):
            for child in ast.iter_child_nodes(node):
                parents[child] = node
        f.parents = parents
        # definitions that are renamed
        if f.module:
            for name in f.defs:
                new = self.place(f.module, name)[1]
                where = self.place(f.module, name)[0]
                for use in uses[f.scopes.top, name]:
                    own = own_of(use)
                    if own is not None and own != where:  # a symbol that moved away from here, or the other way round
                        self._foreign(f, use, where, new, name)
                    else:
                        self._replace(f, use, new)
                if new != name:
                    for group in f.groups:
                        for node in group.nodes:
                            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
                                start = self.def_name_at(f, node)
                                f.edit(start, start + len(name.encode()), new)
        # imports
        for node, rows in f.first.items():
            scope = f.scopes.of[node]
            own = own_of(node)
            wanted = f.wanted[node]
            for local, module, symbol, aliased in rows:
                owners = {own}
                here = uses[scope, local]
                if scope is f.scopes.top and own is not None or f.split:
                    owners = {own_of(use) for use in here} or {own}
                for owner in sorted(owners, key=str):
                    mine = [use for use in here if not f.split or own_of(use) == owner]
                    if symbol is not None:
                        new_module, new = self.place(module, symbol)
                        alias = MAP.ALIASES.get((owner, f"{new_module}:{new}"))
                        if new_module == owner:
                            become = new
                        else:
                            become = alias or (local if aliased else new)
                            wanted.setdefault(owner, []).append((new_module, new, become))
                        for use in mine:
                            self._replace(f, use, become, own_scope=scope)
                        f.becomes[owner, local] = become
                    else:
                        self._module_object(f, wanted, owner, scope, local, module, aliased, mine)
            if not rows:
                continue

    def _foreign(self, f: File, use: ast.Name, module: str, new: str, name: str) -> None:
        owner = self.current_home(f, use)
        become = MAP.ALIASES.get((owner, f"{module}:{new}"), new)
        self._replace(f, use, become)
        f.extra.setdefault(owner, {})[module, new, become] = None

    def current_home(self, f: File, node) -> str | None:
        return f.home(self._top_name(f, node))

    def _module_object(self, f, wanted, owner, scope, local, module, aliased, uses) -> None:
        default = self.target.get(module)
        if default is None:
            problem(f"{f.path}: module {module} is imported as an object and goes away")
            return

        def local_of(new_module: str) -> str:
            leaf = new_module.rpartition(".")[2]
            if (alias := MAP.ALIASES.get((owner or f.path, new_module))) is not None:
                return alias
            if aliased and new_module == default:
                return local
            return leaf

        f.becomes[owner, local] = local_of(default)
        if not uses:  # an import for its side effects
            wanted.setdefault(owner, []).append((default, None, local_of(default)))
        for use in uses:
            parent = f.parents[use]
            if isinstance(parent, ast.Attribute) and parent.value is use:
                home, name = self.origin(module, parent.attr)
                named = self.by_module.get(home) is not None and name in self.by_module[home].defs
                if named:
                    new_module, new = self.place(home, name)
                    if home != module and new_module != default:
                        # m.x of something that m imports: patched or read where m is
                        new_module, new = default, parent.attr
                else:
                    new_module, new = default, parent.attr
                if new_module == owner:
                    become = new
                else:
                    root = local_of(new_module)
                    wanted.setdefault(owner, []).append((new_module, None, root))
                    become = f"{root}.{new}"
                self._replace(f, parent, become, own_scope=scope, old=f"{local}.{parent.attr}")
                continue
            if default == owner:
                problem(f"{f.path}:{use.lineno}: the module object {local} is used in the module it becomes part of")
                continue
            new_module = default
            if isinstance(parent, ast.Call) and len(parent.args) > 1 and parent.args[0] is use:
                second = parent.args[1]
                if isinstance(second, ast.Constant) and isinstance(second.value, str) and second.value.isidentifier():
                    new_module, name = self.patched(module, second.value)
                    start, end = f.span(second)
                    f.edit(start, end, f'"{name}"')
            root = local_of(new_module)
            wanted.setdefault(owner, []).append((new_module, None, root))
            self._replace(f, use, root, own_scope=scope)

    def patched(self, module: str, name: str) -> tuple[str, str]:
        """Where a name of an old module is to be patched."""
        f = self.by_module[module]
        if name in f.defs:
            return self.place(module, name)
        default = self.target[module]
        return default, f.becomes.get((default, name), name) if f.becomes else name

    def _top_name(self, f: File, node) -> str | None:
        """The first name of the top-level group that a node stands in."""
        at = f.at(node.lineno, node.col_offset) if node not in f.scopes.joined else f.span(f.scopes.joined[node])[0]
        for group in f.groups:
            if group.start <= at < group.end:
                return group.names[0] if group.names else None
        return None

    def _replace(self, f: File, node, become: str, own_scope: Scope | None = None, old: str | None = None) -> None:
        old = old or node.id
        if old == become:
            return
        root = become.split(".")[0]
        scope = f.scopes.of[node]
        if root != old.split(".")[0]:
            for one in scope.chain():
                if one.kind in ("module",):
                    break
                if root in one.names and not (one is own_scope and root == old) and not (one.kind == "class" and one is not scope):
                    problem(f"{f.path}:{node.lineno}: {old} becomes {become}, and {root} is a local name there")
                    break
        joined = f.scopes.joined.get(node)
        if joined is not None:
            f.in_strings[joined, old].append((node, become))
            return
        start, end = f.span(node)
        f.edit(start, end, become)

    def _strings_of_f(self, f: File) -> None:
        """Names within f-strings: Python 3.11 does not say where they are."""
        for (joined, old), rows in f.in_strings.items():
            start, end = f.span(joined)
            text = f.data[start:end].decode()
            inside = braces(text)
            found = [
                m for m in re.finditer(rf"(?<![\w.\"']){re.escape(old)}(?![\w\"'])", text)
                if any(a <= m.start() and m.end() <= b for a, b in inside)
                and not re.match(r"=[^=]", text[m.end():])
            ]
            becomes = {become for _, become in rows}
            if len(found) != len(rows) or len(becomes) > 1:
                problem(f"{f.path}:{joined.lineno}: {old} in an f-string is not found for sure ({len(found)} of {len(rows)})")
                continue
            for m in found:
                at = start + len(text[: m.start()].encode())
                f.edit(at, at + len(old.encode()), next(iter(becomes)))

    def def_name_at(self, f: File, node) -> int:
        at = f.at(node.lineno, node.col_offset)
        m = re.compile(rb"(?:async\s+)?(?:def|class)\s+").match(f.data, at)
        return m.end()

    # ------------------------------------------------------------ text: strings, comments, documents

    def text_patterns(self) -> None:
        self.dotted = re.compile(r"\bdermlens(?:\.[A-Za-z_]\w*)+")
        self.old_files = {}
        for old, new in self.target.items():
            self.old_files[file_of(old, self.packages)] = file_of(new, self.new_packages | self.made)
        for old, new in self.resources.items():
            self.old_files[old] = new
        self.folders = dict(MAP.FOLDERS)
        self.word = re.compile(
            r"\b(?:" + "|".join(sorted(map(re.escape, MAP.TEXT_RENAMES), key=len, reverse=True)) + r")\b"
        ) if MAP.TEXT_RENAMES else None

    def dotted_name(self, text: str, *, patch: bool = True) -> str:
        parts = text.split(".")
        if text in MAP.TEXT_PACKAGES:
            return MAP.TEXT_PACKAGES[text]
        for n in range(len(parts), 1, -1):
            module = ".".join(parts[:n])
            rest = parts[n:]
            if module in self.target and (module not in self.packages or module in self.new_packages):
                if not rest:
                    return self.target[module]
                f = self.by_module[module]
                if rest[0] in f.defs:
                    new_module, new = self.place(module, rest[0])
                else:
                    new_module, new = self.patched(module, rest[0])
                return ".".join([new_module, new, *rest[1:]])
            if module in self.target:  # a package that becomes a module
                return ".".join([self.target[module], *rest])
            if module in MAP.TEXT_PACKAGES:
                return ".".join([MAP.TEXT_PACKAGES[module], *rest])
        return text

    FROM = re.compile(r"\bfrom (dermlens(?:\.\w+)*) import ((?:\w+)(?:, ?\w+)*)")

    def in_text(self, text: str, where: str) -> str:
        renamed: dict[str, str] = {}  # by an import in this text: what follows it says the new name

        def from_import(m):
            module, names = m[1], re.split(", ?", m[2])
            out = defaultdict(list)
            for name in names:
                if f"{module}.{name}" in self.by_module:
                    new = self.target.get(f"{module}.{name}")
                    if new is None:
                        return m[0]
                    package, _, leaf = new.rpartition(".")
                    if leaf != name:
                        NOTES.append(f"{where}: by hand: {m[0]!r}: {name} is {new} now")
                    out[package].append(leaf)
                elif module in self.by_module:
                    new, symbol = self.place(*self.origin(module, name))
                    out[new].append(symbol)
                    if symbol != name:
                        renamed[name] = symbol
                else:
                    return m[0]
            return "; ".join(f"from {new} import {', '.join(all_)}" for new, all_ in out.items())

        done: list[str] = []

        def keep(m):
            done.append(from_import(m))
            return f"\0{len(done) - 1}\0"

        text = self.FROM.sub(keep, text)
        for name, symbol in renamed.items():
            text = re.sub(rf"(?<![\w.\"'=]){name}\b", symbol, text)

        def dotted(m):
            found = m[0]
            if found.rpartition(".")[2] in ("yaml", "md", "org", "csv", "json", "toml"):
                return found
            return self.dotted_name(found)

        text = self.dotted.sub(dotted, text)
        text = re.sub(r"\0(\d+)\0", lambda m: done[int(m[1])], text)
        text = re.sub(r"(?<![\w/.-])((?:src/|tests/|dermlens/)[\w./-]*\w/?)", lambda m: self.path_text(m[1]), text)
        for pattern, become in MAP.TEXT_SUBS:
            text = re.sub(pattern, become, text)
        for old, new in MAP.TEXT_FILES:
            text = re.sub(rf"(?<![\w/.-]){re.escape(old)}(?![\w/-]|\.\w)", new, text)
        if self.word:
            text = self.word.sub(lambda m: MAP.TEXT_RENAMES[m[0]], text)
        return text

    def path_text(self, path: str) -> str:
        bare = path.startswith("dermlens/")
        whole = f"src/{path}" if bare else path
        if whole in self.old_files:
            new = self.old_files[whole]
        else:
            slash = whole.endswith("/")
            new = None
            for old, target in sorted(self.folders.items(), key=lambda row: -len(row[0])):
                if whole.rstrip("/") == old or whole.startswith(old + "/"):
                    new = target + whole.rstrip("/").removeprefix(old) + ("/" if slash else "")
                    break
            if new is None:
                return path
        return new.removeprefix("src/") if bare and new.startswith("src/dermlens") else new

    def depths(self, f: File) -> None:
        """`Path(__file__).parents[n]` of a file that lies deeper now, or less deep."""
        if f.module is None or f.module not in self.target:
            return
        deeper = self.target[f.module].count(".") - f.module.count(".")
        for node in ast.walk(f.tree):
            if deeper and isinstance(node, ast.Subscript) and re.match(r"Path\(__file__\).*\.parents\[\d+\]$", ast.unparse(node)):
                start, end = f.span(node.slice)
                f.edit(start, end, str(node.slice.value + deeper))

    def strings(self, f: File) -> None:
        """Edits in comments and strings. Docstrings too."""
        code = [f.span(node) for node in f.first]
        for token in tokenize.generate_tokens(io.StringIO(f.text).readline):
            if token.type not in (tokenize.COMMENT, tokenize.STRING):
                continue
            start = f.at(token.start[0], len(f.text.splitlines()[token.start[0] - 1][: token.start[1]].encode())) if False else self._byte(f, token.start)
            end = self._byte(f, token.end)
            if any(a <= start < b for a, b in code):
                continue
            new = self.in_text(token.string, f.path)
            if new != token.string:
                if token.string[:3] in ('"""', 'r""'):
                    new = fitted(new, token.start[1])
                f.edits = [e for e in f.edits if not (start <= e[0] and e[1] <= end and e[2] in new)] if False else f.edits
                inner = [e for e in f.edits if start <= e[0] and e[1] <= end]
                if inner:
                    # minimal edits: apply the replaced stretches one by one
                    for a, b, text in smallest(token.string, new):
                        f.edit(start + len(token.string[:a].encode()), start + len(token.string[:b].encode()), text)
                else:
                    f.edit(start, end, new)

    def _byte(self, f: File, place: tuple[int, int]) -> int:
        line, column = place
        begin = f.lines[line - 1]
        raw = f.data[begin : f.lines[line]].decode()
        return begin + len(raw[:column].encode())

    # ------------------------------------------------------------ run

    def run(self) -> dict[str, str]:
        """All new files by path, and what goes away in self.removed."""
        self.made = {new for new in self.order if new in self.packages and new in self.new_packages}
        for f in self.files.values():
            f.becomes, f.extra, f.in_strings = {}, {}, defaultdict(list)
            f.split = False
            if f.module and f.module.startswith("dermlens") or f.module and f.module.startswith("tests"):
                base = self.target.get(f.module)
                moved = {key.split(":")[1]: new for key, new in MAP.MOVES.items() if key.split(":")[0] == f.module}
                for name in list(moved):
                    if name not in f.defs:
                        NOTES.append(f"map: {f.module}:{name} is not in this tree")
                        moved.pop(name)
                f.split = bool(moved)
                f.moved = moved
                f.home = (lambda base, moved: lambda name: moved.get(name, base))(base, moved)
            else:
                f.moved = {}
                f.home = lambda name: None
        for key in MAP.RENAMES:
            module, name = key.split(":")
            if module in self.by_module and name not in self.by_module[module].defs:
                NOTES.append(f"map: {key} is not in this tree")
        live = [f for f in self.files.values() if f.module not in self.gone or f.module is None]
        for f in sorted(live, key=lambda f: (f.module or "").startswith("tests") or f.module is None):
            self.rewrite(f, f.home)
        for f in live:
            self._strings_of_f(f)
            self.nested(f)
        self.resources = self._resources()
        self.text_patterns()
        for f in live:
            self.strings(f)
            self.depths(f)
        out: dict[str, str] = {}
        for new, olds in self.order.items():
            if new.startswith("tests"):
                continue
            out[file_of(new, self.new_packages)] = self.merged(new, olds)
        extra_targets = {new for f in live for new in f.moved.values()}
        for new in extra_targets:
            if new not in self.order:
                out[file_of(new, self.new_packages)] = self.merged(new, [])
        for package in self.new_packages:
            path = file_of(package, self.new_packages)
            if path not in out:
                out[path] = f'"""{MAP.PACKAGES[package]}"""\n'
        for f in live:
            if f.module and f.module.startswith("dermlens"):
                continue
            path = f.path
            if f.module in self.target:
                path = file_of(self.target[f.module], self.packages if f.module in self.packages else set())
            out[path] = self.in_place(f)
        self._conftests(out)
        for path in self.tracked:
            if path in self.files or path in self.resources:
                continue
            if self._is_text(path):
                text = (self.root / path).read_text(encoding="utf-8")
                new = self.in_text(text, path)
                if new != text:
                    out[path] = new
        return out

    def _is_text(self, path: str) -> bool:
        if path.startswith(("docs/results/", "tests/fixtures/", "src/dermlens/shipped/")) or path == "CHANGELOG.md":
            return False
        return path.endswith((".md", ".toml", ".yaml", ".yml", ".cfg", ".ini", ".txt", ".csv", ".cff", ".j2", ".js", ".html")) or path.split(
            "/"
        )[-1] in ("Makefile", "Dockerfile", ".dockerignore", ".gitignore", ".importlinter", "run")

    def _resources(self) -> dict[str, str]:
        """Files that are no Python and lie in folders that move."""
        found = {}
        for path in self.tracked:
            if path in self.files:
                continue
            for old, new in sorted(MAP.RESOURCES.items(), key=lambda row: -len(row[0])):
                if path == old or path.startswith(old + "/"):
                    found[path] = new + path.removeprefix(old)
                    break
        return found

    # ------------------------------------------------------------ a merged module

    def merged(self, new: str, olds: list[str]) -> str:
        parts: list[tuple[File, list[Group]]] = []
        for old in olds:
            f = self.by_module[old]
            groups = [g for g in f.groups if g.kind == "code" and not (set(g.names) & set(f.moved))]
            parts.append((f, groups))
        for f in sorted((f for f in self.by_module.values() if f.moved), key=lambda f: f.module):
            groups = [g for g in f.groups if g.kind == "code" and any(f.moved.get(n) == new for n in g.names)]
            if groups:
                parts.append((f, groups))
        ordered = self._ordered(new, parts)
        # what each name means in the new module
        meaning: dict[str, tuple] = {}
        where: dict[str, str] = {}

        def add(local: str, means: tuple, who: str) -> bool:
            if local in meaning and meaning[local] != means:
                problem(
                    f"{new}: {local} is two things: {meaning[local][-2:]} of {where[local]} and {means[-2:]} of {who}"
                )
                return False
            meaning[local], where[local] = means, who
            return True

        external: dict[str, None] = {}
        first: dict[tuple, None] = {}
        typing_ext: dict[str, None] = {}
        typing_first: dict[tuple, None] = {}
        dropped: set[Group] = set()
        code_of: dict[str, str] = {}
        for f, groups in parts:
            for group in groups:
                for name in group.names:
                    if name in ("__all__",):
                        continue
                    renamed = self.place(f.module, name)[1]
                    text = f.render(group.start, group.end).strip()
                    if renamed in code_of and code_of[renamed] == text:
                        dropped.add(group)
                        continue
                    if len(groups) and renamed in meaning and meaning[renamed] == ("def", f.module, renamed):
                        continue
                    if add(renamed, ("def", f.module, renamed), f.module):
                        code_of[renamed] = text
            whole = f.module in olds
            used = None
            if not whole or f.moved:
                used = self._names_used(f, groups)
            for group in f.groups:
                node = group.nodes[0]
                if group.kind == "import":
                    self._collect(f, node, new, used, external, first, add)
                elif group.kind == "typing":
                    for sub in node.body:
                        if isinstance(sub, (ast.Import, ast.ImportFrom)):
                            self._collect(f, sub, new, used, typing_ext, typing_first, add)
                        else:
                            problem(f"{f.path}:{sub.lineno}: TYPE_CHECKING holds more than imports")
            for row in f.extra.get(new, {}):
                if add(row[2], ("sym", row[0], row[1]), f.module):
                    first[row] = None
        for f, groups in parts:
            for name in self._builtins_used(f):
                if name in meaning and meaning[name][0] != "ext" and not self._binds(f, name, new):
                    problem(f"{new}: {name} is a builtin that {f.module} uses, and {meaning[name]} takes its name")
        lazy = MAP.TYPE_ONLY.get(new, ())
        for row in list(first):
            if any(row[0] == t or row[0].startswith(t + ".") or f"{row[0]}:{row[1]}" == t for t in lazy):
                del first[row]
                typing_first[row] = None
        out = [self._docstring(new, [f for f, _ in ordered if f.module in olds], olds)]
        out.append("from __future__ import annotations\n")
        runtime = [text for text in external if text != "from __future__ import annotations"]
        typing_rows = [row for row in typing_first if row not in first]
        typing_texts = [t for t in typing_ext if t not in external]
        if (typing_rows or typing_texts) and not any("TYPE_CHECKING" in t for t in runtime):
            runtime.append("from typing import TYPE_CHECKING")
        runtime += [self.import_text(new, *row) for row in first]
        if runtime:
            out.append("\n".join(runtime) + "\n")
        if typing_rows or typing_texts:
            lines = typing_texts + [self.import_text(new, *row) for row in typing_rows]
            out.append("if TYPE_CHECKING:\n" + "\n".join(f"    {line}" for text in lines for line in text.split("\n")) + "\n")
        several = len(olds) > 1
        hoisted = bool(self._legend([self.in_text(self.by_module[old].docstring or "", old) for old in olds])) if several else False
        guards = []
        for f, groups in ordered:
            body = []
            for group in groups:
                if group in dropped:
                    continue
                if group.names == ("__all__",):
                    if several:
                        continue
                    listed = ast.literal_eval(group.nodes[0].value)
                    body.append("\n\n__all__ = " + repr(sorted({f.becomes.get((new, one), one) for one in listed})))
                    continue
                text = f.render(group.start, group.end)
                if text.lstrip().startswith('if __name__ == "__main__"'):
                    guards.append(text.strip("\n"))
                    continue
                body.append(text)
            text = "".join(body).strip("\n")
            tail = f.tail.strip()
            if tail and f.module in olds:
                text += "\n\n" + tail
            if not text:
                continue
            if several and f.module in olds:
                text = self._heading(f, hoisted) + text
            out.append(text + "\n")
        out += [text + "\n" for text in guards]
        return "\n\n".join(out)

    def _binds(self, f: File, name: str, new: str) -> bool:
        return name in f.scopes.top.names

    def _builtins_used(self, f: File) -> set[str]:
        return {
            node.id
            for node, scope in f.scopes.of.items()
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and scope.find(node.id) is None and hasattr(builtins, node.id)
        }

    def _names_used(self, f: File, groups: list[Group]) -> set[str]:
        used = set()
        for group in groups:
            for node in group.nodes:
                for sub in ast.walk(node):
                    if isinstance(sub, ast.Name) and f.scopes.of[sub].find(sub.id) in (f.scopes.top, None):
                        used.add(sub.id)
        return used

    def _collect(self, f, node, new, used, external, first, add) -> None:
        if node in f.first:
            for row in f.wanted[node].get(new, []):
                module, name, local = row
                means = ("sym", module, name) if name else ("mod", module, None)
                if module == new:
                    continue
                if add(local, means, f.module):
                    first[row] = None
            return
        for alias in node.names:
            local = alias.asname or alias.name.split(".")[0]
            if used is not None and local not in used and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
                continue
            suffix = f" as {alias.asname}" if alias.asname else ""
            if isinstance(node, ast.ImportFrom):
                text = f"from {node.module} import {alias.name}{suffix}"
            else:
                text = f"import {alias.name}{suffix}"
            means = ("ext", "dotted" if isinstance(node, ast.Import) and not alias.asname else text)
            if isinstance(node, ast.Import) and not alias.asname:
                means = ("ext", "import " + local)
            comment = re.search(r"#.*$", f.data[f.span(node)[0]: f.lines[node.end_lineno]].decode().strip().split("\n")[-1])
            if comment and len(node.names) == 1:
                text += f"  {comment[0]}"
            if add(local, means, f.module):
                external[text] = None

    def _docstring(self, new: str, files: list[File], olds: list[str]) -> str:
        """One line on the whole; of a module that stays alone, all it said; of merged ones, the legend of shapes."""
        about = self.about.get(new)
        main = next((f for f in files if f.module.rpartition(".")[2] == new.rpartition(".")[2]), files[0] if files else None)
        docs = {f: self.in_text(f.docstring or "", f.path) for f in files}
        if main is not None:
            about = about or docs[main].partition("\n\n")[0]
        rest: list[str] = []
        if len(files) == 1:
            rest = [docs[main].partition("\n\n")[2].strip("\n")] if "\n\n" in docs[main] else []
        elif legend := self._legend(list(docs.values())):
            rest = [legend]
        if len(files) > 1:
            rest = [docs[f].partition("\n\n")[2].strip("\n") for f in files if f.module in MAP.WHOLE_DOCSTRING] + rest
        if len(files) == 1 and not self.about.get(new):
            quoted = docs[main]
            raw = "r" if "\\" in quoted else ""
            return f'{raw}"""{quoted}\n"""\n' if "\n" in quoted or len(quoted) > 104 else f'{raw}"""{quoted}"""\n'
        if new in MAP.DOCSTRINGS:
            return f'"""{MAP.DOCSTRINGS[new]}"""\n'
        if about and len(about.split("\n")[0]) > 107:
            problem(f"{new}: its first line is too long: {about!r}")
        text = "\n\n".join([about or "", *rest])
        raw = "r" if "\\" in text else ""
        return f'{raw}"""{text}\n"""\n' if "\n" in text or len(text) > 104 else f'{raw}"""{text}"""\n'

    def _legend(self, docs: list[str]) -> str:
        """The legends of shapes of several modules as one; empty where a letter would be two things."""
        items: dict[str, str] = {}
        for doc in docs:
            for paragraph in doc.split("\n\n"):
                if not paragraph.startswith("Shapes: "):
                    continue
                text = " ".join(paragraph.removeprefix("Shapes: ").split()).rstrip(".")
                if ". " in text or ";" in text:
                    return ""
                for item in re.split(r", (?![^()]*\))", text):
                    key = item.split()[0]
                    if items.get(key, item) != item:
                        return ""
                    items[key] = item
        return textwrap.fill("Shapes: " + ", ".join(items.values()) + ".", 108) if items else ""

    def _heading(self, f: File, hoisted: bool) -> str:
        """What the docstring of a merged module said, as a comment above its part."""
        doc = self.in_text(f.docstring or "", f.path)
        head, _, body = doc.partition("\n\n")
        head = MAP.HEADINGS.get(f.module, " ".join(head.split()))
        lines = textwrap.wrap(head, 105)
        for paragraph in () if f.module in MAP.WHOLE_DOCSTRING else body.split("\n\n"):
            if not paragraph.strip() or (hoisted and paragraph.startswith("Shapes: ")):
                continue
            these = paragraph.strip("\n").split("\n")
            prose = not any(line.startswith(" ") or "  " in line for line in these)
            if prose and max(map(len, these)) > 108:
                these = textwrap.wrap(" ".join(these), 108)
            lines += ["", *these]
        if not head:
            return ""
        return "\n".join(f"# {line}".rstrip() for line in lines) + "\n\n\n"

    def _ordered(self, new: str, parts):
        """By what is needed at import time; else as the map lists them."""
        index = {}
        for place, (f, groups) in enumerate(parts):
            for group in groups:
                for name in group.names:
                    index[f.module, name] = place
        needs = {place: set() for place in range(len(parts))}
        for place, (f, groups) in enumerate(parts):
            used = self._needed_at_import(f, groups)
            for name in used:
                if (f.module, name) in index:
                    key = (f.module, name)
                elif name in f.local[f.scopes.top]:
                    key = f.local[f.scopes.top][name]
                else:
                    continue
                if index.get(key, place) != place:
                    needs[place].add(index[key])
        done, out = set(), []
        while len(out) < len(parts):
            ready = [p for p in range(len(parts)) if p not in done and needs[p] <= done]
            if not ready:
                problem(f"{new}: its parts need each other at import: {[parts[p][0].module for p in range(len(parts)) if p not in done]}")
                return parts
            done.add(ready[0])
            out.append(parts[ready[0]])
        return out

    def _needed_at_import(self, f: File, groups: list[Group]) -> set[str]:
        """Names that running the statements reads: not function bodies, but what is called is followed."""
        found: set[str] = set()
        bodies = {n: g for g in f.groups if g.kind == "code" for n in g.names}

        def walk(node, deep: bool) -> None:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not deep:
                for part in (*node.decorator_list, *node.args.defaults, *[d for d in node.args.kw_defaults if d]):
                    walk(part, deep)
                for arg in [*node.args.args, *node.args.kwonlyargs]:
                    if arg.annotation and self._typer(f):
                        walk(arg.annotation, deep)
                return
            if isinstance(node, ast.Lambda) and not deep:
                return
            if isinstance(node, ast.Name):
                name(node.id)
                return
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                row = f.local[f.scopes.top].get(node.value.id)
                if row and row[1] is None:
                    found.add(node.value.id)
            for child in ast.iter_child_nodes(node):
                walk(child, deep)

        def name(word: str) -> None:
            if word in found:
                return
            found.add(word)
            if word in bodies:
                for node in bodies[word].nodes:
                    walk(node, True)

        for group in groups:
            for node in group.nodes:
                walk(node, False)
        return found

    def _typer(self, f: File) -> bool:
        return False

    # ------------------------------------------------------------ a file that stays one

    def nested(self, f: File) -> None:
        """Imports that stay where they are: all of a test or a script, those within functions of a module."""
        whole = f.module is None or not f.module.startswith("dermlens")
        top = set() if whole else {id(g.nodes[0]) for g in f.groups if g.kind == "import"}
        if not whole:
            top |= {id(sub) for g in f.groups if g.kind == "typing" for sub in g.nodes[0].body}
        for node, rows in f.first.items():
            if id(node) in top or not rows:
                continue
            new_module = f.home(self._top_name(f, node))
            wanted = f.wanted[node].get(new_module, [])
            texts = list(dict.fromkeys(self.import_text(new_module, *row) for row in wanted if row[0] != new_module))
            start, end = f.span(node)
            old = {self._alias_text(f, node, alias) for alias in node.names}
            if set(texts) == old:
                continue
            indent = " " * node.col_offset
            comment = re.search(r"#.*$", f.data[end : f.lines[node.end_lineno]].decode().strip())
            grouped: dict[str, list[str]] = {}
            for text in texts:
                head, _, what = text.partition(" import ")
                grouped.setdefault(head if what else text, []).append(what)
            texts = [f"{head} import {', '.join(what)}" if what != [""] else head for head, what in grouped.items()]
            if comment:
                texts = [text + f"  {comment[0]}" for text in texts[:-1]] + texts[-1:]
            if texts:
                f.edit(start, end, f"\n{indent}".join(texts))
                continue
            siblings = next((b for b in (getattr(f.parents[node], n, None) for n in ("body", "orelse", "finalbody")) if b and node in b))
            if len(siblings) == 1:
                f.edit(start, end, "pass")
            else:
                f.edit(f.lines[node.lineno - 1], f.lines[node.end_lineno], "")

    def in_place(self, f: File) -> str:
        for module_rows in f.extra.values():
            if module_rows and not (f.module or "").startswith("dermlens"):
                problem(f"{f.path}: symbols moved out of a test file are not handled")
        return f.render(0, len(f.data))

    def _alias_text(self, f, node, alias) -> str:
        return f"from {'.' * node.level}{node.module or ''} import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")

    # ------------------------------------------------------------ fixtures

    def _conftests(self, out: dict[str, str]) -> None:
        """A conftest for each folder of tests that needs fixtures of modules that were conftests."""
        givers = {}
        for old, new in self.target.items():
            if old.startswith("tests") and old.endswith(".conftest") and not new.endswith(".conftest"):
                givers[old] = new
        fixtures = {}
        for old, new in givers.items():
            f = self.by_module[old]
            for group in f.groups:
                node = group.nodes[0]
                if isinstance(node, ast.FunctionDef) and any("fixture" in ast.unparse(d) for d in node.decorator_list):
                    needs = {a.arg for a in node.args.args}
                    auto = any("autouse=True" in ast.unparse(d) for d in node.decorator_list)
                    fixtures[old, node.name] = (new, needs, auto)
        wanted: dict[str, dict[tuple[str, str], None]] = defaultdict(dict)
        for f in self.files.values():
            if not f.module or not f.module.startswith("tests") or f.module in givers or f.module in self.gone:
                continue
            folder = self.target[f.module].rpartition(".")[0]
            words = set(re.findall(r"\w+", f.text))
            args = set()
            for node in ast.walk(f.tree):
                if isinstance(node, ast.FunctionDef):
                    args |= {a.arg for a in node.args.args}
                    args |= {c.value for d in node.decorator_list for c in ast.walk(d) if isinstance(c, ast.Constant) and isinstance(c.value, str)}
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("usefixtures", "getfixturevalue")):
                    args |= {a.value for a in node.args if isinstance(a, ast.Constant)}
            del words
            package = f.module.rpartition(".")[0]
            todo = {name for name in args}
            autos = {name for (old, name), row in fixtures.items() if row[2] and in_folder(package, old)}
            todo |= autos
            seen = set()
            while todo:
                name = todo.pop()
                if name in seen:
                    continue
                seen.add(name)
                # the conftest nearest above
                near = [old for (old, n) in fixtures if n == name and in_folder(package, old)]
                if near:
                    old = max(near, key=len)
                    wanted[folder][fixtures[old, name][0], name] = None
                    todo |= fixtures[old, name][1]
        for folder, rows in sorted(wanted.items()):
            names = defaultdict(set)
            for module, name in rows:
                names[name].add(module)
            for name, modules in names.items():
                if len(modules) > 1:
                    problem(f"fixtures: {folder} needs {name} of {sorted(modules)}")
            # what a folder above already has need not be given again
            path = folder.replace(".", "/") + "/conftest.py"
            lines = []
            by = defaultdict(list)
            for module, name in rows:
                by[module].append(name)
            for module, all_ in sorted(by.items()):
                base = module.removeprefix("tests.")
                lines.append(f"from {base} import " + ", ".join(f"{n} as {n}" for n in sorted(all_)))
            imports = "\n".join(lines) + "\n"
            if path in out:
                head, sep, tail = out[path].partition("from __future__ import annotations\n")
                out[path] = head + sep + "\n" + imports + tail
            else:
                out[path] = f'"""Fixtures that these tests share with others."""\n\n{imports}'


WIDTH = 110


def fitted(text: str, column: int) -> str:
    """A docstring whose names have grown, within the width: names lose their package, else words go to the next line."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        room = WIDTH - (column if at == 0 else 0)
        if len(line) > room:
            line = lines[at] = re.sub(r"`dermlens(?:\.\w+)*\.(\w+\.\w+)`", lambda m: f"`{m[1].rpartition('.')[2]}`" if m[1].rpartition('.')[2] else m[0], line)
        if len(line) > room and at + 1 < len(lines):
            cut = line.rfind(" ", 0, room + 1)
            indent = len(line) - len(line.lstrip())
            if cut > indent:
                head, rest = line[:cut], line[cut + 1 :]
                below = lines[at + 1]
                deep = len(below) - len(below.lstrip())
                entry = re.match(r"\s+[\w.*`]+(?: \([^)]*\))?: ", line) is not None
                if below.strip() and '"""' not in below and (deep == indent and not entry or deep == indent + 4 and entry):
                    lines[at : at + 2] = [head, " " * deep + rest + " " + below.lstrip()]
                else:
                    lines[at : at + 1] = [head, " " * (indent + 4 * entry) + rest]
        at += 1
    return "\n".join(lines)


def in_folder(package: str, conftest: str) -> bool:
    home = conftest.rpartition(".")[0]
    return package == home or package.startswith(home + ".")


def braces(text: str) -> list[tuple[int, int]]:
    """Stretches of an f-string's source that are expressions."""
    found, depth, start, at = [], 0, 0, 0
    while at < len(text):
        two = text[at : at + 2]
        if depth == 0 and two in ("{{", "}}"):
            at += 2
            continue
        if text[at] == "{":
            if depth == 0:
                start = at + 1
            depth += 1
        elif text[at] == "}" and depth:
            depth -= 1
            if depth == 0:
                found.append((start, at))
        at += 1
    return found


def smallest(old: str, new: str) -> list[tuple[int, int, str]]:
    import difflib

    return [
        (a, b, new[c:d]) for tag, a, b, c, d in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if tag != "equal"
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--no-edits", action="store_true")
    parser.add_argument("--force", action="store_true", help="write what there is, whatever is not settled")
    parser.add_argument("--ruff", help="else that of the checkout's .venv, of this Python, or of the path")
    args = parser.parse_args()
    root = args.checkout.resolve()
    failed: list[str] = []
    edited: dict[str, str] = {}
    if not args.no_edits:
        edited, failed = EDITS.before(root)
    mover = Mover(root, edited)
    out = mover.run()
    if args.plan:
        plan(mover, out)
    for text in NOTES:
        if not text.endswith("is not in this tree") or args.plan:
            print("note:", text)
    for text in PROBLEMS:
        print("NOT SETTLED:", text)
    if args.plan:
        return 1 if PROBLEMS else 0
    for text in failed:
        print("EDIT FAILED:", text)
    if (PROBLEMS or failed) and not args.force:
        print(f"{len(PROBLEMS) + len(failed)} things are not settled; nothing of the move was written")
        return 1
    for path in mover.files:
        if path not in out:
            (root / path).unlink()
    for old, new in mover.resources.items():
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        text = None
        if mover._is_text(old):
            text = mover.in_text((root / old).read_text(encoding="utf-8"), old)
        shutil.move(root / old, root / new)
        if text is not None:
            (root / new).write_text(text, encoding="utf-8")
    for path, text in sorted(out.items()):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    for folder in sorted((p for top in ("src", "tests") for p in (root / top).rglob("*") if p.is_dir()), key=lambda p: -len(p.parts)):
        left = [p for p in folder.iterdir() if p.name != "__pycache__"]
        if not left:
            shutil.rmtree(folder)
    ruff(args.ruff, root)
    if not args.no_edits:
        after = EDITS.after(root)
        ruff(args.ruff, root)
        for text in after:
            print("EDIT FAILED:", text)
        failed += after
    return 1 if failed or PROBLEMS else 0


def ruff(program: str | None, root: Path) -> None:
    places = (root / ".venv/bin/ruff", Path(sys.executable).with_name("ruff"), Path(".venv/bin/ruff"))
    program = program or next((str(place) for place in places if place.is_file()), "ruff")
    folders = [one for one in PY_ROOTS if (root / one).is_dir()]
    for words in (["check", "-q", "--fix", "--select", "I,F401,D202", "--exit-zero", *folders], ["format", "-q", *folders]):
        subprocess.run([program, *words], cwd=root, check=False)


def plan(mover: Mover, out: dict[str, str]) -> None:
    total = files = 0
    for path, text in sorted(out.items()):
        if not path.startswith(("src/", "paper/")):
            continue
        n = text.count("\n")
        module = path.removeprefix("src/").removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        olds = mover.order.get(module, [])
        print(f"{n:5d}  {path:48s} ← {', '.join(o.removeprefix('dermlens.') for o in olds)}")
        if path.startswith("src/"):
            total, files = total + n, files + 1
    print(f"src: {files} files, {total} lines")


if __name__ == "__main__":
    sys.exit(main())
