"""Every state machine of the house: what is not declared is refused, in words."""

import pytest

import models  # noqa: F401
from models import fields, workflow
from models.errors import RuleBroken

MOVES = [
    pytest.param(model, transition, state, id=f"{model.__tablename__}.{transition.name} from {state.value}")
    for model in fields.models()
    for transition in workflow.transitions_of(model)
    for state in fields.field(model, transition.field).choices or ()
    if state not in transition.sources
]


@pytest.mark.parametrize(("model", "transition", "state"), MOVES)
def test_a_transition_is_refused_from_every_state_it_does_not_name(model, transition, state):
    record = model()
    setattr(record, transition.field, state)

    with pytest.raises(RuleBroken) as refusal:
        getattr(record, transition.name)()

    assert transition.label in str(refusal.value)
    assert state.label in str(refusal.value)
    assert getattr(record, transition.field) is state


@pytest.mark.parametrize("model", fields.models(), ids=lambda m: m.__tablename__)
def test_every_target_and_source_is_a_state_of_its_own_column(model):
    for transition in workflow.transitions_of(model):
        states = set(fields.field(model, transition.field).choices)

        assert {transition.target, *transition.sources} <= states
