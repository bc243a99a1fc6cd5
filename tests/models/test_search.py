"""Finding people and things by what is typed: characters, pinyin, initials, parts of numbers; never past a right."""

from datetime import date

import pytest
import sqlalchemy as sa

from models import search
from models.database import open_session
from models.organisation import Branch, Department, LineOfBusiness
from models.pinyin import fold, readings, sort_key
from models.policy import Level, Scope, System
from models.recycling import recycle, restore
from models.search import SearchToken, everywhere, find, terms_of
from models.staff import Credential, CredentialKind, Staff
from tests.models.conftest import House, principal, role

PEOPLE = {
    "张丽": {"no": "SH-2024-0117", "phone": "13812345678", "id_number": "110105194912310022"},
    "张伟": {"phone": "13987654321"},
    "李丽华": {},
    "丽娜": {},
    "单雄信": {}, "曾国藩": {}, "仇英": {}, "解缙": {}, "查良镛": {}, "欧阳修": {}, "尉迟恭": {}, "单于夫罗": {},
    "重庆": {},
    "Anna Maria Schmidt": {}, "阿依古丽·买买提": {},
}  # fmt: skip


def fill(engine):
    with open_session(engine, System("tests")) as session:
        branch = Branch(code="SH01", name="静安月子会所", line=LineOfBusiness.POSTPARTUM)
        session.add_all([Staff(branch=branch, name=n, hired_on=date(2024, 1, 1), **v) for n, v in PEOPLE.items()])
        session.commit()
    return engine


@pytest.fixture(scope="module")
def people(module_engine):
    return fill(module_engine)


def names(session, query, model=Staff, limit=20):
    return [record.name for record in find(session, model, query, limit)]


def asked(engine, query, who=None, **more):
    with open_session(engine, who or System("tests")) as session:
        return names(session, query, **more)


# -- what is found -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("张", "张丽"),
        ("丽", "张丽"),
        ("张丽", "张丽"),
        (" 张 丽 ", "张丽"),
        ("zhangli", "张丽"),
        ("ZhangLi", "张丽"),
        ("zhangl", "张丽"),
        ("zl", "张丽"),
        ("ZL", "张丽"),
        ("zhang li", "张丽"),
        ("zhang", "张丽"),
        ("張麗", "张丽"),
        ("張", "张丽"),
        ("ｚｈａｎｇｌｉ", "张丽"),
        ("5678", "张丽"),
        ("138123", "张丽"),
        ("13812345678", "张丽"),
        ("0022", "张丽"),
        ("110105", "张丽"),
        ("0117", "张丽"),
        ("SH-2024-0117", "张丽"),
        ("sh-2024", "张丽"),
        ("2024-01", "张丽"),
        ("sh20240117", "张丽"),
        ("shan", "单雄信"),
        ("shanxiongxin", "单雄信"),
        ("sxx", "单雄信"),
        ("zeng", "曾国藩"),
        ("zengguofan", "曾国藩"),
        ("qiu", "仇英"),
        ("xie", "解缙"),
        ("xiejin", "解缙"),
        ("zha", "查良镛"),
        ("zhaliangyong", "查良镛"),
        ("ouyang", "欧阳修"),
        ("ouyangxiu", "欧阳修"),
        ("oyx", "欧阳修"),
        ("yuchigong", "尉迟恭"),
        ("chanyu", "单于夫罗"),
        ("chongqing", "重庆"),
        ("huali", "no one"),
        ("lihua", "李丽华"),
        ("anna", "Anna Maria Schmidt"),
        ("schmidt", "Anna Maria Schmidt"),
        ("maria schm", "Anna Maria Schmidt"),
        ("阿依古丽", "阿依古丽·买买提"),
        ("买买提", "阿依古丽·买买提"),
        ("阿依古丽·买买提", "阿依古丽·买买提"),
    ],
)
def test_a_person_is_found_by_what_people_type(people, query, name):
    found = asked(people, query)

    assert (name in found) is (name in PEOPLE)


@pytest.mark.parametrize(
    "query", ["", "   ", "·", "王", "zhangwu", "zq", "9999", "%", "_", "张%", "' OR 1=1", "\U0010ffff", "x" * 500]
)
def test_what_nobody_is_called_finds_nobody(people, query):
    assert asked(people, query) == []


def test_a_person_kept_in_traditional_characters_is_found_in_simplified_ones_and_back(engine):
    with open_session(engine, System("tests")) as session:
        branch = Branch(code="A", name="院", line=LineOfBusiness.MIXED)
        session.add(Staff(branch=branch, name="張麗", hired_on=date(2024, 1, 1)))
        session.commit()

        assert [names(session, q) for q in ("张丽", "張麗", "丽", "zhangli")] == [["張麗"]] * 4


def test_every_word_of_a_query_must_be_met(people):
    assert asked(people, "张 5678") == ["张丽"]
    assert asked(people, "zhang 4321") == ["张伟"]
    assert asked(people, "张 李") == []


def test_a_query_is_at_most_six_words_each_no_longer_than_a_token():
    assert terms_of("一 二 三 四 五 六 七") == list("一二三四五六")
    assert [len(t) for t in terms_of("x" * 500)] == [40]


# -- ranking -----------------------------------------------------------------------------------------------


def test_the_exact_name_comes_before_names_that_begin_with_it_and_those_before_names_that_hold_it(engine):
    with open_session(engine, System("tests")) as session:
        branch = Branch(code="A", name="院", line=LineOfBusiness.MIXED)
        order = ["小丽华", "丽华", "丽"]
        session.add_all([Staff(branch=branch, name=n, hired_on=date(2024, 1, 1)) for n in order])
        session.commit()

        assert names(session, "丽") == ["丽", "丽华", "小丽华"]


def test_the_best_matches_come_first_when_there_are_more_than_asked_for(engine):
    with open_session(engine, System("tests")) as session:
        branch = Branch(code="A", name="院", line=LineOfBusiness.MIXED)
        session.add_all([Staff(branch=branch, name=n, hired_on=date(2024, 1, 1)) for n in ["李", *["李梅"] * 30]])
        session.commit()

        assert names(session, "李", limit=1) == ["李"]
        assert names(session, "li", limit=1) == ["李"]


def test_a_surname_comes_before_a_given_name_of_the_same_sound(people):
    assert asked(people, "li")[:3] == ["丽娜", "李丽华", "张丽"]


# -- edits -------------------------------------------------------------------------------------------------


def test_tokens_follow_edits_and_leave_with_the_record(engine):
    with open_session(engine, System("tests")) as session:
        branch = Branch(code="A", name="院", line=LineOfBusiness.MIXED)
        person = Staff(branch=branch, name="张丽", phone="13812345678", hired_on=date(2024, 1, 1))
        session.add(person)
        session.commit()
        person.name = "王芳"
        session.commit()

        assert (names(session, "zhangli"), names(session, "wf"), names(session, "5678")) == ([], ["王芳"], ["王芳"])
        recycle(person)
        session.commit()
        assert names(session, "王芳") == []
        restore(person)
        session.commit()
        assert names(session, "王芳") == ["王芳"]
        session.delete(person)
        session.commit()
        kept = sa.select(sa.func.count()).select_from(SearchToken).where(SearchToken.table == "staff")
        assert session.scalar(kept) == 0


def test_a_rolled_back_edit_is_found_as_before(engine):
    with open_session(engine, System("tests")) as session:
        branch = Branch(code="A", name="院", line=LineOfBusiness.MIXED)
        person = Staff(branch=branch, name="张丽", hired_on=date(2024, 1, 1))
        session.add(person)
        session.commit()
        person.name = "王芳"
        session.flush()
        session.rollback()

        assert (names(session, "张丽"), names(session, "王芳")) == (["张丽"], [])


def test_rebuilding_gives_the_same_tokens(people):
    tokens = sa.select(
        SearchToken.record_id, SearchToken.token, SearchToken.weight, SearchToken.secrecy, SearchToken.behind_mask
    ).where(SearchToken.table == "staff").order_by(SearchToken.record_id, SearchToken.token)  # fmt: skip
    with open_session(people, System("tests")) as session:
        before = sorted(map(tuple, session.execute(tokens)), key=str)
        count = search.rebuild(session, Staff, batch=4)

        assert sorted(map(tuple, session.execute(tokens)), key=str) == before
        assert count == len(before)
        session.rollback()


# -- rights ------------------------------------------------------------------------------------------------


def seeing(level):
    return principal(role(may="staff.view", sees={"staff.contact": level, "staff.identity": level}))


@pytest.mark.parametrize(
    ("level", "found"),
    [
        (None, set()),
        (Level.HIDDEN, set()),
        (Level.MASKED, {"5678", "0022"}),
        (Level.REVEAL, {"5678", "0022", "138123", "110105"}),
        (Level.PLAIN, {"5678", "0022", "138123", "110105"}),
    ],
)
def test_nobody_is_found_through_what_is_hidden_and_by_the_open_end_alone_of_what_is_masked(people, level, found):
    who = seeing(level) if level is not None else principal(role(may="staff.view"))

    assert {q for q in ("5678", "0022", "138123", "110105") if asked(people, q, who) == ["张丽"]} == found
    assert asked(people, "张丽", who) == ["张丽"]


def test_a_masked_address_is_not_found_letter_by_letter(house_of_both: House):
    with house_of_both.session() as session:
        session.get(Staff, house_of_both.he_jing).email = "hejing@example.com"
        session.commit()

    found = {
        level: asked(house_of_both.engine, "hejing@", seeing(level))
        for level in (Level.HIDDEN, Level.MASKED, Level.PLAIN)
    }

    assert found == {Level.HIDDEN: [], Level.MASKED: [], Level.PLAIN: ["何静"]}


def test_only_what_one_may_see_is_found(house_of_both: House):
    near = principal(role(scope=Scope.BRANCH, branch=house_of_both.shanghai, may="staff.view"))

    assert asked(house_of_both.engine, "duwei", near) == []
    assert asked(house_of_both.engine, "hejing", near) == ["何静"]
    assert asked(house_of_both.engine, "hejing", principal()) == []


def test_nobody_signed_in_finds_nothing(house: House):
    with house.session() as session:
        session.info["principal"] = None

        assert find(session, Staff, "何静") == []
        assert everywhere(session, "何静") == []


def test_a_record_is_found_by_the_name_of_what_it_belongs_to(house_of_both: House):
    everything = principal(role(may="staff.view credential.view"))
    with open_session(house_of_both.engine, everything) as session:
        assert [c.staff_id for c in find(session, Credential, "hejing")] == [house_of_both.he_jing]


def test_but_not_by_the_name_of_what_one_may_not_see(house_of_both: House):
    """Every credential is in reach, the people in Hangzhou are not."""
    near = principal(
        role("A", scope=Scope.BRANCH, branch=house_of_both.shanghai, may="staff.view"),
        role("B", may="credential.view"),
    )
    with house_of_both.session() as session:
        session.add(
            Credential(
                staff_id=house_of_both.du_wei, kind=CredentialKind.DIETITIAN, number="D-77", issued_on=date(2024, 1, 1)
            )
        )
        session.commit()
    with open_session(house_of_both.engine, near) as session:
        assert find(session, Credential, "杜薇") == []
        assert [c.number for c in find(session, Credential, "D-77")] == ["D-77"]
        assert [c.staff_id for c in find(session, Credential, "何静")] == [house_of_both.he_jing]


def test_the_whole_house_is_searched_model_by_model_as_far_as_one_sees(house: House):
    with house.session() as session:
        found = everywhere(session, "护理")
        assert [(m, [str(r) for r in records]) for m, records in found] == [(Department, ["护理部"])]
    with house.at_work(role(may="staff.view")) as session:
        assert everywhere(session, "护理") == []


# -- pinyin ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "sound"),
    [
        ("单雄信", "shan xiong xin"), ("曾国藩", "zeng guo fan"), ("仇英", "qiu ying"), ("解缙", "xie jin"),
        ("查良镛", "zha liang yong"), ("朴树", "piao shu"), ("区鸿", "ou hong"), ("任贤齐", "ren xian qi"),
        ("华罗庚", "hua luo geng"), ("尉迟恭", "yu chi gong"), ("万俟咏", "mo qi yong"), ("长孙无忌", "zhang sun wu ji"),
        ("令狐冲", "ling hu chong"), ("澹台灭明", "tan tai mie ming"), ("吕布", "lv bu"), ("張麗", "zhang li"),
    ],
)  # fmt: skip
def test_a_name_sounds_as_a_name(name, sound):
    assert sort_key(name) == sound


def test_a_character_with_two_sounds_is_found_by_both():
    assert {r[0] for r in readings("单")} == {"shan", "dan"}


def test_folding_folds_width_case_and_script():
    assert fold("ＡＢＣ張麗") == "abc张丽"


def test_names_are_ordered_by_their_sound():
    assert sorted(["张丽", "李梅", "单雄信", "安娜", "曾国藩"], key=sort_key) == [
        "安娜",
        "李梅",
        "单雄信",
        "曾国藩",
        "张丽",
    ]
