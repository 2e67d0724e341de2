"""Functions, types and files stay small; what is larger is listed here, with its reason."""

import pytest

from tools.house_figures import large_files, large_functions, large_types, source_texts

LARGE_FUNCTIONS = {"lipstitch/job.py:run_job": "what the command line offers"}
MOST_LARGE_FUNCTIONS = 5
LARGE_TYPES = {
    "lipstitch/job_file/renderer.py:RendererConfig": "the keys of a section of the job file",
    "lipstitch/job_file/segmenter.py:SegmenterConfig": "the keys of a section of the job file",
    "lipstitch/report/report.py:Report": "the keys of report.json",
    "lipstitch/training/config.py:GeneratorConfig": "the keys of a section of the training file",
}
MOST_LARGE_TYPES = 4


def found(find):
    return {large.place for path, source in source_texts() for large in find(path, source)}


def test_functions_of_eight_parameters_are_rare_and_have_a_reason():
    assert found(large_functions) == set(LARGE_FUNCTIONS)
    assert len(LARGE_FUNCTIONS) <= MOST_LARGE_FUNCTIONS


def test_types_of_eleven_fields_are_rare_and_have_a_reason():
    assert found(large_types) == set(LARGE_TYPES)
    assert len(LARGE_TYPES) <= MOST_LARGE_TYPES


def test_files_stay_below_350_lines():
    assert found(large_files) == set()


def parameters(count):
    return ", ".join(f"p{number}" for number in range(count))


@pytest.mark.parametrize(
    ("source", "sizes"),
    [
        (f"def f({parameters(7)}): ...", []),
        (f"def f({parameters(8)}): ...", [8]),
        (f"class A:\n    def f(self, {parameters(7)}): ...", []),
        (f"class A:\n    async def f(self, {parameters(4)}, *, x, y, z, **rest): ...", [8]),
        (f"def outer():\n    def f({parameters(6)}, *more, last): ...", [8]),
        (f"@app.command()\ndef f({parameters(8)}): ...", []),
        (f"@lru_cache(maxsize=8)\ndef f({parameters(8)}): ...", [8]),
    ],
)
def test_large_functions_are_found(source, sizes):
    assert [large.size for large in large_functions("a.py", source)] == sizes


def fields(count, prefix="x"):
    return "".join(f"    {prefix}{number}: int\n" for number in range(count))


@pytest.mark.parametrize(
    ("source", "sizes"),
    [
        (f"class A:\n{fields(10)}", []),
        (f"class A(NamedTuple):\n{fields(11)}", [11]),
        (f"class A:\n{fields(10)}    y: ClassVar[int] = 1\n    z = 2\n", []),
        (f"class A:\n{fields(6)}class B(A):\n{fields(5, 'y')}", [11]),
        (f"class A:\n{fields(6)}class B(A):\n{fields(6)}", []),
    ],
)
def test_large_types_are_found(source, sizes):
    assert [large.size for large in large_types("a.py", source)] == sizes


@pytest.mark.parametrize(("num_lines", "sizes"), [(349, []), (350, [350])])
def test_large_files_are_found(num_lines, sizes):
    assert [large.size for large in large_files("a.py", "\n" * num_lines)] == sizes
