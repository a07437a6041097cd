"""Expressions that ask an authorizer which has to ask somebody else."""

import pytest

from pilothouse.api.cel.admission import admission_environment
from pilothouse.api.cel.environment import EvaluationError
from pilothouse.api.user import User
from pilothouse.apiserver.admission.access import Access
from pilothouse.apiserver.authz.attributes import Decision, Remote, UserRules, Verdict
from pilothouse.apiserver.authz.chain import Chain, Link

PODS = "authorizer.group('').resource('pods').namespace('ns')"


class Slow(Remote):
    """Allows getting; knows nothing before it was asked."""

    def __init__(self):
        self.asked = []

    def known(self, attributes):
        return None

    async def ask(self, attributes):
        self.asked.append((attributes.user.name, attributes.verb, attributes.label_selector))
        return Decision(Verdict.ALLOW if attributes.verb == "get" else Verdict.NO_OPINION, "asked", "late")

    async def close(self):
        raise AssertionError("nothing to close")

    def rules_for(self, user, namespace):
        return UserRules()


async def evaluate(slow, *expressions):
    environment = admission_environment(False)
    access = Access(User("alice"), Chain([Link(slow)]))
    values = {"authorizer": environment.authorizer()}
    programs = [environment.compile(each) for each in expressions]
    return await access.settle(lambda: [access.evaluate(program, values) for program in programs])


async def test_answers_that_take_waiting():
    slow = Slow()
    assert await evaluate(slow, f"{PODS}.check('get').allowed() && !{PODS}.check('list').allowed()") == [True]
    assert slow.asked == [("alice", "get", ""), ("alice", "list", "")]


async def test_a_question_is_asked_once():
    slow = Slow()
    found = await evaluate(slow, f"{PODS}.check('get').reason()", f"{PODS}.check('get').error()")
    assert found == ["asked", "late"]
    assert len(slow.asked) == 1


async def test_selectors_and_other_users_are_part_of_the_question():
    slow = Slow()
    who = "authorizer.serviceAccount('ns', 'robot').group('').resource('pods').labelSelector('a=b').check('get')"
    assert await evaluate(slow, f"{who}.allowed()") == [True]
    assert slow.asked == [("system:serviceaccount:ns:robot", "get", "a=b")]


async def test_an_error_that_rests_on_an_answer_is_raised_after_it():
    slow = Slow()
    with pytest.raises(EvaluationError, match="division by zero"):
        await evaluate(slow, f"{PODS}.check('list').allowed() || 1 / 0 == 1")
    assert len(slow.asked) == 1
