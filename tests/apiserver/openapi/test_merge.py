"""Documents of several servers as one."""

import copy

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.apiserver.openapi.merge import merged, under

GVK = "x-kubernetes-group-version-kind"


def document(*paths, **definitions):
    """A document whose paths refer to all definitions."""
    answers = {str(index): {"schema": {"$ref": f"#/definitions/{name}"}} for index, name in enumerate(definitions)}
    return {
        "swagger": "2.0",
        "paths": {path: {"get": {"responses": answers}} for path in paths},
        "definitions": definitions,
    }


def references(doc, path):
    return [each["schema"]["$ref"].rpartition("/")[2] for each in doc["paths"][path]["get"]["responses"].values()]


def text(description):
    return {"description": description, "type": "object"}


def test_what_only_one_has_is_added():
    base, other = document("/apis/a/v1/", A=text("a")), document("/apis/b/v1/", B=text("b"))
    result = merged(base, iter([other]))
    assert list(result["paths"]) == ["/apis/a/v1/", "/apis/b/v1/"]
    assert result["definitions"] == {"A": text("a"), "B": text("b")}
    assert base == document("/apis/a/v1/", A=text("a")), "nothing is changed"


def test_paths_that_are_there_stay():
    base, other = document("/apis/a/v1/", A=text("a")), document("/apis/a/v1/", "/apis/b/v1/", B=text("b"))
    result = merged(base, iter([other]))
    assert references(result, "/apis/a/v1/") == ["A"]
    assert merged(base, iter([document("/apis/a/v1/", C=text("c"))]))["definitions"] == {"A": text("a")}


def test_another_definition_of_the_same_name_gets_another_name():
    base = document("/a", Meta=text("one"))
    other = document("/b", Meta=text("two"), Other={"properties": {"m": {"$ref": "#/definitions/Meta"}}})
    third, again = document("/c", Meta=text("three")), document("/d", Meta=text("two"))
    result = merged(base, iter([other, third, again]))
    assert {name: part.get("description") for name, part in result["definitions"].items()} == {
        "Meta": "one",
        "Meta_v2": "two",
        "Other": None,
        "Meta_v3": "three",
    }
    assert result["definitions"]["Other"]["properties"]["m"] == {"$ref": "#/definitions/Meta_v2"}
    assert [references(result, path)[0] for path in ("/a", "/b", "/c", "/d")] == [
        "Meta",
        "Meta_v2",
        "Meta_v3",
        "Meta_v2",
    ]
    assert other["definitions"]["Meta"] == text("two")


def test_a_new_name_is_free_in_both():
    base = document("/a", Meta=text("one"))
    other = document("/b", Meta=text("two"), Meta_v2=text("else"))
    result = merged(base, iter([other]))
    assert {name: part["description"] for name, part in result["definitions"].items()} == {
        "Meta": "one",
        "Meta_v2": "else",
        "Meta_v3": "two",
    }


def test_definitions_that_differ_in_their_kinds_are_one():
    one = {**text("same"), GVK: [{"group": "", "version": "v1", "kind": "K"}]}
    two = {**text("same"), GVK: [{"group": "b", "version": "v1", "kind": "K"}, *one[GVK]]}
    result = merged(document("/a", K=one), iter([document("/b", K=two)]))
    assert result["definitions"] == {"K": {**text("same"), GVK: [one[GVK][0], two[GVK][0]]}}


def test_parameters_are_told_apart_as_well():
    def with_parameter(path, what):
        item = {"parameters": [{"$ref": "#/parameters/p"}], "get": {}}
        return {"paths": {path: item}, "parameters": {"p": {"name": what, "in": "query"}}}

    result = merged(with_parameter("/a", "x"), iter([with_parameter("/b", "y")]))
    assert result["parameters"] == {"p": {"name": "x", "in": "query"}, "p_v2": {"name": "y", "in": "query"}}
    assert result["paths"]["/b"]["parameters"] == [{"$ref": "#/parameters/p_v2"}]


def test_only_what_is_used_is_kept():
    whole = document("/apis/a/v1/x", A={"properties": {"b": {"$ref": "#/definitions/B"}}})
    whole["paths"]["/version"] = {"get": {"responses": {"200": {"schema": {"$ref": "#/definitions/V"}}}}}
    whole["definitions"] |= {"B": {"items": {"$ref": "#/definitions/A"}}, "V": text("v")}
    part = under(whole, "/apis/a/v1/")
    assert list(part["paths"]) == ["/apis/a/v1/x"]
    assert set(part["definitions"]) == {"A", "B"}


NAMES = st.sampled_from(["M", "M_v2", "M_v3", "N"])
DOCUMENTS = st.lists(
    st.tuples(st.sampled_from(["/a", "/b", "/c", "/d"]), st.dictionaries(NAMES, st.integers(0, 3), min_size=1)),
    max_size=6,
)


@given(DOCUMENTS)
def test_every_path_goes_on_to_mean_what_it_meant(given_documents):
    """Whatever is merged: the first who has a path has it, and what its references say is what they said."""
    documents = [document(path, **{name: text(str(n)) for name, n in parts.items()}) for path, parts in given_documents]
    before = copy.deepcopy(documents)
    result = merged({"paths": {}, "definitions": {}}, iter(documents))
    assert documents == before
    meant = {}
    for path, parts in given_documents:
        meant.setdefault(path, [str(n) for n in parts.values()])
    found = {
        path: [result["definitions"][name]["description"] for name in references(result, path)]
        for path in result["paths"]
    }
    assert found == meant
