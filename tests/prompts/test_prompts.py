from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from qstar_core import prompts
from qstar_core.config import DomainConfig
from qstar_core.domains import DOMAINS, problem_sets
from qstar_core.errors import UserError

BUILT_IN = [
    name for domain in ("choice", "gsm8k", "math", "mbpp") for name in prompts.names(domain)
]
FIELDS = {"question": "How much is 17 + 25?", "tests": ["assert f(1) == 2", "assert f(2) == 3"]}
VERSIONS = {
    "choice/chat": ("1", "4865a4ce4648"),
    "choice/few-shot": ("1", "1e8519470f58"),
    "gsm8k/chat": ("1", "0decc57d995e"),
    "gsm8k/deepseek-math": ("1", "9698ad372d19"),
    "gsm8k/few-shot": ("1", "9739553c9d16"),
    "gsm8k/metamath": ("1", "709ef38586b3"),
    "math/chat": ("1", "6a69c1c09d78"),
    "math/deepseek-math": ("1", "9698ad372d19"),
    "math/few-shot": ("1", "3bb06f23ce69"),
    "math/metamath": ("1", "709ef38586b3"),
    "mbpp/chat": ("1", "436d97462888"),
    "mbpp/three-shot": ("1", "3170087872d1"),
}  # fmt: skip


def test_there_are_templates_for_every_domain_but_countdown() -> None:
    assert len(BUILT_IN) == 12
    assert prompts.names("countdown") == []


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_template_asks_the_question_once_at_its_end(name: str) -> None:
    template = prompts.load(name, name.partition("/")[0])
    prompt = template.render(FIELDS)
    assert prompt.count(FIELDS["question"]) == 1
    assert "{{" not in prompt and "{%" not in prompt and "{#" not in prompt
    assert not prompt.startswith(("\n", " "))
    other = template.render({**FIELDS, "question": "Something else"})
    assert other == prompt.replace(FIELDS["question"], "Something else")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_changed_template_has_a_new_version(name: str) -> None:
    template = prompts.load(name, name.partition("/")[0])
    digest = hashlib.sha256(template.source.encode()).hexdigest()[:12]
    assert VERSIONS[name] == (template.version, digest), "raise the version in its first line"


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name.endswith("few-shot")])
def test_the_examples_of_a_template_are_right(name: str) -> None:
    """Each worked example is graded by the domain's own grader."""
    domain = name.partition("/")[0]
    prompt = prompts.load(name, domain).render({"question": "LAST"})
    module = DOMAINS[domain]
    begin, middle = (part.strip() for part in (module.FRAME.before, module.FRAME.after))
    *examples, last = prompt.split(begin)[1:]
    assert "LAST" in last
    assert len(examples) >= 3
    for example in examples:
        _, _, solution = example.partition(middle)
        answers = {module.answer(_any_problem(domain), [solution])}
        assert "" not in answers
        if domain == "gsm8k":
            assert set(module.rule_rewards(_any_problem(domain), solution.splitlines())) == {1.0}


def _any_problem(domain: str):  # type: ignore[no-untyped-def]
    source = problem_sets.SOURCES[domain]
    return source.from_row(json.loads(source.EXAMPLE), "train")


def test_the_prompt_of_a_problem_is_what_its_template_writes(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text('{"question": "How {{ many }}?", "answer": "#### 7"}\n')
    own = DomainConfig(name="gsm8k", test_file=str(file))
    chat = DomainConfig(name="gsm8k", test_file=str(file), prompt="gsm8k/chat")
    [plain], [asked] = (problem_sets.problems(d, "test", seed=0) for d in (own, chat))
    assert plain.prompt == "Question: How {{ many }}?\nAnswer:\n"
    assert asked.prompt.startswith("How {{ many }}?\n\nWork this out step by step")
    assert asked.reference == plain.reference
    assert problem_sets.problems(own, "test", seed=0) == [plain]
    shapes = [problem_sets.shape(d, "test", 0) for d in (own, chat)]
    assert "prompt" not in shapes[0]
    assert shapes[1]["prompt"]["name"] == "gsm8k/chat"
    assert shapes[1]["prompt"]["version"] == "1"


def test_a_users_template_counts_by_its_content(tmp_path: Path) -> None:
    problems, template = tmp_path / "p.jsonl", tmp_path / "mine.j2"
    problems.write_text('{"question": "How many?", "answer": "#### 7"}\n')
    domain = DomainConfig(name="gsm8k", test_file=str(problems), prompt=str(template))
    template.write_text("Q: {{ question | upper }}\nA:")
    [problem] = problem_sets.problems(domain, "test", seed=0)
    assert problem.prompt == "Q: HOW MANY?\nA:"
    before = problem_sets.shape(domain, "test", 0)
    assert set(before["prompt"]) == {"sha256"}
    template.write_text("Q: {{ question }}\nA:")
    assert problem_sets.shape(domain, "test", 0) != before
    [problem] = problem_sets.problems(domain, "test", seed=0)
    assert problem.prompt == "Q: How many?\nA:"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("{{ questoin }}", "'questoin' is undefined"),
        ("{{ question", "line 1: unexpected end"),
        ("{{ question.__class__.__mro__ }}", "unsafe"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{% include 'other' %}", "no loader"),
        (" {# nothing #} ", "writes nothing"),
    ],
)
def test_a_template_that_fails_is_the_users_to_mend(tmp_path: Path, source: str, says: str) -> None:
    file = tmp_path / "mine.j2"
    file.write_text(source)
    with pytest.raises(UserError, match=says) as caught:
        prompts.load(str(file), "gsm8k").render({"question": "?"})
    assert str(file) in caught.value.what
    assert "its fields are question" in caught.value.next_step


def test_a_template_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no template math/chatt") as caught:
        prompts.load("math/chatt", "math")
    assert "math/chat, math/deepseek-math, math/few-shot" in caught.value.next_step
    with pytest.raises(UserError, match="no template math/chat"):
        prompts.load("math/chat", "gsm8k")
    (tmp_path / "p.j2").write_bytes(b"\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        prompts.load(str(tmp_path / "p.j2"), "gsm8k")


def test_countdown_has_its_own_prompt() -> None:
    with pytest.raises(ValidationError, match="countdown has a prompt of its own"):
        DomainConfig(prompt="gsm8k/chat")
