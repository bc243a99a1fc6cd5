"""Rules and data. The table of contents: kit, then areas in the order they may import each other."""

from . import base, choices, clock, database, errors, fields, policy, values, workflow
from . import organisation, staff, access, clients, services, contracts, payments
from . import scoring, instruments, assessments, assessment_answers
from . import feedback, complaints
from . import courses, training, kpi, appeals, appraisals, appraisal_scores, cycles

AREAS = (
    organisation, staff, access, clients, services, contracts, payments, scoring, instruments, assessments,
    assessment_answers, feedback, complaints, courses, training, kpi, appeals, appraisals, appraisal_scores, cycles,
)  # fmt: skip
