"""Advice: complete and alike in both languages, with the warnings that save money, and open to a site's own words."""

from __future__ import annotations

import re
import shlex
import string
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config
from agent.advice import FOLDER, advice, load_site, site_of
from agent.cli import parser
from agent.config.problems import ConfigError
from agent.config.read import Source
from agent.diagnosis.model import CAUSES
from agent.texts import LANGUAGES

if TYPE_CHECKING:
    from agent.texts import Language

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "data" / "broken_advice.txt"
SHIPPED: dict[Language, dict[str, dict[str, Any]]] = {
    language: tomllib.loads(Path(FOLDER, f"{language}.toml").read_text("utf-8")) for language in LANGUAGES
}
EN, ZH = SHIPPED["en"], SHIPPED["zh-CN"]
TEXTS = ("title", "explanation")
LISTS = {"cashier": (1, 4), "technician": (2, 6), "warnings": (0, 4), "works": (1, 5)}
HAN = re.compile(r"[\u4e00-\u9fff]")

NAMES = """
    POS IT SIM UPS posagent Wi-Fi DNS DHCP USB MAC VLAN TCP UDP PPPoE IPv4 IPv6 ECR VPN WAN PoE RS-232 ICMP ICMPv6 MTU MSS
    SSL/TLS TLP CA RA SD eMMC TMS RSRP SINR I/O dBm G M xx x0 ping chrony ModemManager NetworkManager nftables root
    FAILED INCOMPLETE REFUSED SERVFAIL NXDOMAIN LISTEN Location OB RB auto on wa HOST PORT GATEWAY
"""
"""Latin words that Chinese technicians write as they are: names, units, what a command prints, what is to be replaced."""

MONEY = {
    "never restart the terminal on a certificate fault": (
        ("Never restart or reset the terminal because of a certificate fault", "遇到证书故障切勿重启或复位 POS 终端"),
        "acquirer.certificate_expired acquirer.certificate_invalid firewall.tls_inspection clock.wrong",
    ),
    "settle before a terminal is replaced or reset": (
        ("Settle the batch before the terminal is replaced", "更换、复位或恢复 POS 终端之前必须先做批结算"),
        (
            "terminal.unplugged terminal.cable_poor terminal.unreachable terminal.driver_missing "
            "settlement.failed settlement.overdue settlement.unsent unclassified"
        ),
    ),
    "never open the terminal": (
        ("Never open the terminal or the PIN pad", "切勿拆开 POS 终端或密码键盘"),
        "terminal.unplugged terminal.cable_poor terminal.unreachable terminal.driver_missing host.overheating unclassified",
    ),
    "check for a duplicate charge before trying again": (
        ("the customer may have been charged already", "避免重复扣款"),
        (
            "power.mains_lost power.battery_exhausted power.supply_weak terminal.unplugged terminal.port_denied "
            "terminal.port_taken terminal.cable_poor terminal.autosuspend terminal.unreachable lan.interface_off "
            "lan.cable_unplugged lan.wifi_weak lan.address_conflict lan.no_address lan.no_route lan.router_down lan.poor "
            "isp.captive_portal isp.down isp.poor dns.down dns.tampered dns.name_missing firewall.local_rule "
            "firewall.all_blocked firewall.port_blocked firewall.tls_inspection network.mtu network.ipv6_broken clock.wrong "
            "acquirer.unreachable acquirer.refusing acquirer.silent acquirer.certificate_expired "
            "acquirer.certificate_invalid host.disk_full host.disk_read_only host.memory_low host.overloaded "
            "software.not_running settlement.failed unclassified"
        ),
    ),
    "no update in the middle of a batch": (
        ("Update nothing while a batch is open", "当前批次未结算时切勿更新"),
        "software.outdated software.restart_pending settlement.overdue settlement.unsent",
    ),
    "the terminal keeps its batch while the router is restarted": (
        ("Leave the card terminal switched on", "重启其他设备时不要关闭 POS 终端"),
        "lan.cable_unplugged lan.no_address lan.router_down isp.down dns.down firewall.all_blocked",
    ),
    "a restart does not mend what lies outside": (
        ("Restarting the router or the terminal does not help here", "重启路由器或 POS 终端对此无效"),
        "dns.name_missing firewall.port_blocked acquirer.unreachable acquirer.refusing acquirer.silent",
    ),
    "no payment is entered twice": (
        ("customers would be charged twice", "会造成重复扣款"),
        "settlement.failed settlement.unsent",
    ),
}
"""What must never be left out (DOMAIN.md section 9.2): how it reads in both languages, and for which causes."""

ON_ITS_OWN_LINE = (
    "power.mains_lost power.battery_exhausted lan.interface_off lan.cable_unplugged lan.no_address lan.no_route "
    "lan.router_down isp.captive_portal isp.down isp.poor dns.down dns.tampered firewall.all_blocked "
    "firewall.port_blocked"
)
"""Where the store's line is at fault, and a terminal's own SIM card gets round it."""

BANK_SIDE = (
    "acquirer.unreachable acquirer.refusing acquirer.silent acquirer.certificate_expired acquirer.certificate_invalid"
)
"""Where no line of the store's helps."""


def pieces(table: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        for text in [value] if isinstance(value, str) else value:
            yield key, text


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def commands(text: str) -> list[str]:
    return sorted(set(re.findall(r"`[^`]+`", text)))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_cause_has_a_table_and_no_table_is_of_another(language: Language) -> None:
    assert list(SHIPPED[language]) == list(CAUSES)


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_table_is_complete(language: Language, cause: str) -> None:
    table = SHIPPED[language][cause]
    assert set(table) - {"subject"} == {*TEXTS, *LISTS}
    for key, (least, most) in LISTS.items():
        assert least <= len(table[key]) <= most, key
        assert len(set(table[key])) == len(table[key]), key
    for key, text in pieces(table):
        assert text == text.strip() and text, key
    assert len(table["title"]) <= 80
    assert not table["title"].endswith((".", "。")), "a title is no sentence with a full stop"
    for key, text in pieces(table):
        if key not in ("title", "subject"):
            assert text.endswith((".", "?", "。", "？")), text


@pytest.mark.parametrize("cause", CAUSES)
def test_both_languages_say_the_same_with_the_same_facts_and_commands(cause: str) -> None:
    assert list(EN[cause]) == list(ZH[cause])
    for key in EN[cause]:
        assert len([*pieces({key: EN[cause][key]})]) == len([*pieces({key: ZH[cause][key]})]), key
    for (key, english), (_, chinese) in zip(pieces(EN[cause]), pieces(ZH[cause]), strict=True):
        assert placeholders(english) == placeholders(chinese) <= {"subject"}, key
        assert commands(english) == commands(chinese), key


@pytest.mark.parametrize("cause", CAUSES)
def test_a_text_that_names_a_subject_has_a_word_for_when_there_is_none(cause: str) -> None:
    for table in (EN[cause], ZH[cause]):
        named = any("subject" in placeholders(text) for _, text in pieces(table))
        assert named == ("subject" in table)


@pytest.mark.parametrize("cause", CAUSES)
def test_the_chinese_is_chinese(cause: str) -> None:
    for key, text in pieces(ZH[cause]):
        plain = re.sub(r"`[^`]*`|{\w+}", "", text)
        assert HAN.search(plain), (key, text)
        assert set(re.findall(r"[A-Za-z][\w./-]*", plain, re.ASCII)) <= set(NAMES.split()), (key, text)
        assert not re.search(r"[,;:!?()\"']", plain), (key, text)
        assert "POS机" not in plain and "POS 机" not in plain, "say POS 终端"
    for key, text in pieces(EN[cause]):
        assert not HAN.search(text), (key, text)


@pytest.mark.parametrize("rule", MONEY)
def test_no_warning_that_saves_money_is_missing(rule: str) -> None:
    (english, chinese), causes = MONEY[rule]
    for cause in causes.split():
        assert any(english in text for text in EN[cause]["warnings"]), cause
        assert any(chinese in text for text in ZH[cause]["warnings"]), cause


def test_nobody_is_told_to_restart_on_a_certificate_fault() -> None:
    for cause in ("acquirer.certificate_expired", "acquirer.certificate_invalid", "firewall.tls_inspection"):
        for key in ("cashier", "technician"):
            for text in EN[cause][key]:
                assert "restart" not in text.lower() or text.startswith("Do not restart"), text
            for text in ZH[cause][key]:
                assert "重启" not in text or text.startswith("不要重启"), text


def test_whoever_is_told_to_restart_something_is_told_what_to_guard() -> None:
    for cause, table in EN.items():
        for text in table["cashier"]:
            if re.search(r"(?i)(?<!not )\brestart|switch .* off", text):
                assert re.search(
                    r"switched on|charged already|batch|does not help|certificate", " ".join(table["warnings"])
                ), cause


def test_nobody_is_told_to_open_a_terminal_or_to_reset_it() -> None:
    for cause, table in EN.items():
        for text in (*table["cashier"], *table["technician"]):
            assert not re.search(r"(?i)open the (card )?terminal|factory|unscrew|reset", text), (cause, text)
    for cause, table in ZH.items():
        for text in (*table["cashier"], *table["technician"]):
            assert not re.search(r"拆开|出厂设置|复位", text), (cause, text)


@pytest.mark.parametrize("cause", CAUSES)
def test_cash_always_works_and_offline_only_by_contract(cause: str) -> None:
    assert "Cash." in EN[cause]["works"]
    assert "现金收款。" in ZH[cause]["works"]
    for text in EN[cause]["works"]:
        assert "ffline" not in text or "only if the contract with the acquirer allows" in text
    for text in ZH[cause]["works"]:
        assert "脱机" not in text or "仅限与收单机构的合同允许时" in text


def test_a_terminal_with_a_line_of_its_own_is_named_where_it_helps_and_only_there() -> None:
    for cause in ON_ITS_OWN_LINE.split():
        assert any("SIM" in text for text in EN[cause]["works"]), cause
        assert any("SIM" in text for text in ZH[cause]["works"]), cause
    for cause in BANK_SIDE.split():
        assert not any("SIM" in text for text in EN[cause]["works"]), cause
        assert not any("SIM" in text for text in ZH[cause]["works"]), cause


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("facts", [{}, {"subject": ""}, {"subject": None}, {"subject": "auth.bank.example:443"}])
def test_filled_advice_holds_no_brace_and_no_question_mark_for_a_fact(
    cause: str, language: Language, facts: dict[str, object]
) -> None:
    given = advice(cause, language, facts)
    for text in (given.title, given.explanation):
        assert "{" not in text and "?" not in text
    for text in (*given.cashier, *given.technician, *given.warnings, *given.works):
        assert "{{" not in text and "}}" not in text
    assert given.contact == ""


def test_the_subject_is_named_where_there_is_one_and_paraphrased_where_not() -> None:
    host = {"subject": "auth.bank.example:443"}
    assert advice("acquirer.silent", "en", host).title == (
        "The bank's computer takes the call and then says nothing: auth.bank.example:443"
    )
    assert advice("acquirer.silent", "en").title == (
        "The bank's computer takes the call and then says nothing: the acquirer's payment host"
    )
    assert advice("acquirer.silent", "zh-CN", host).title == "银行主机接通后没有响应：auth.bank.example:443"
    assert advice("acquirer.silent", "zh-CN", {"subject": ""}).title == "银行主机接通后没有响应：收单机构主机"


def test_every_command_of_posagent_that_is_advised_exists() -> None:
    told = [command for texts in SHIPPED.values() for command in re.findall(r"`posagent ([^`]+)`", str(texts))]
    assert len(told) > 20
    for command in told:
        parser.parse(shlex.split(command.removesuffix(" > FILE")))  # SystemExit where it does not


def test_an_udev_rule_comes_out_with_its_braces() -> None:
    rule = 'ACTION=="add", SUBSYSTEM=="usb", ATTR{idVendor}=="VVVV", ATTR{idProduct}=="PPPP"'
    for language in LANGUAGES:
        assert any(rule in step for step in advice("terminal.autosuspend", language).technician)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", ["", "drawer.open", "lan", "lan.cable_unplugged "])
def test_an_unknown_cause_has_the_texts_of_unclassified(language: Language, cause: str) -> None:
    assert advice(cause, language) == advice("unclassified", language)


def site(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "advice.toml"
    file.write_text(text, "utf-8")
    return file


def test_a_site_puts_its_words_over_ours_and_keeps_the_rest(tmp_path: Path) -> None:
    own = load_site(
        site(
            tmp_path,
            """
            [en."lan.router_down"]
            cashier = ["Restart the router under counter 2."]
            warnings = []
            contact = "Mr Lee, extension 8001"

            [zh-CN."acquirer.silent"]
            title = "银行没有响应（{subject}），找李工"
            technician = ["先看 `awk '{{print $1}}'`。", "再打 8001。"]
            """,
        )
    )
    plain, changed = advice("lan.router_down", "en"), advice("lan.router_down", "en", site=own)
    assert changed.cashier == ("Restart the router under counter 2.",)
    assert changed.warnings == ()
    assert changed.contact == "Mr Lee, extension 8001"
    assert (changed.title, changed.explanation) == (plain.title, plain.explanation)
    assert (changed.technician, changed.works) == (plain.technician, plain.works)
    assert advice("lan.router_down", "zh-CN", site=own) == advice("lan.router_down", "zh-CN")
    assert advice("lan.poor", "en", site=own) == advice("lan.poor", "en")
    chinese = advice("acquirer.silent", "zh-CN", {"subject": "auth.bank.example"}, own)
    assert chinese.title == "银行没有响应（auth.bank.example），找李工"
    assert chinese.technician == ("先看 `awk '{print $1}'`。", "再打 8001。")


def test_a_sites_title_without_a_known_subject_uses_our_word_for_it(tmp_path: Path) -> None:
    own = load_site(site(tmp_path, '[en."acquirer.silent"]\ntitle = "No word from {subject}"\n'))
    assert advice("acquirer.silent", "en", site=own).title == "No word from the acquirer's payment host"


def test_a_sites_words_for_unclassified_hold_for_unknown_causes_too(tmp_path: Path) -> None:
    own = load_site(site(tmp_path, '[en.unclassified]\ncontact = "8001"\n'))
    assert advice("drawer.open", "en", site=own).contact == "8001"


def test_a_file_of_comments_changes_nothing(tmp_path: Path) -> None:
    assert load_site(site(tmp_path, "# nothing yet\n")) == {}


def test_what_the_manual_shows_can_be_used(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "advice.md").read_text("utf-8"), re.DOTALL)
    contacts, setting, own = blocks
    settings = config.parse(Source("config.toml", (contacts + setting).encode()))
    assert settings.advice.file == "/etc/posagent/advice.toml"
    texts = load_site(site(tmp_path, own))
    assert advice("lan.router_down", "zh-CN", site=texts).contact == "李工，分机 8001"
    assert advice("acquirer.unreachable", "en", {"subject": "h"}, texts).title == "The bank does not answer: h"


def broken() -> Iterator[tuple[str, str, list[str]]]:
    _, *parts = re.split(r"^==== ", CORPUS.read_text("utf-8"), flags=re.MULTILINE)
    for part in parts:
        title, _, rest = part.partition("\n")
        file, _, answer = rest.partition("----\n")
        yield title, file, answer.strip().split("\n")


def test_the_corpus_has_at_least_twelve_cases_with_titles_of_their_own() -> None:
    titles = [title for title, _, _ in broken()]
    assert len(titles) >= 12
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(("file", "answer"), [pytest.param(file, answer, id=title) for title, file, answer in broken()])
def test_a_broken_file_names_every_problem(
    file: str, answer: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    site(tmp_path, file)
    with pytest.raises(ConfigError) as caught:
        load_site(Path("advice.toml"))
    assert [str(problem) for problem in caught.value.problems] == answer


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (None, "advice.toml: there is no such file"),
        (b'[en."isp.down"]\ntitle = "\xe9"\n', "advice.toml: line 2: is not UTF-8 (byte 0xe9); save it as UTF-8"),
        ("[en]".encode("utf-16"), "advice.toml: is UTF-16; save it as UTF-8"),
        (b" \n", "advice.toml: the file is empty; was it cut off while being written?"),
        (b"#" * (4 << 20) + b"#", "advice.toml: is larger than 4 MiB; is it the right file?"),
    ],
    ids=["missing", "latin-1", "utf-16", "blank", "huge"],
)
def test_a_file_that_cannot_be_read_says_why(
    data: bytes | None, answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if data is not None:
        Path("advice.toml").write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_site(Path("advice.toml"))
    assert str(caught.value) == answer


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_site(tmp_path)
    assert str(caught.value) == f"{tmp_path}: is a directory, not a file"


def test_a_card_number_in_a_mistake_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_site(site(tmp_path, '[en."isp.down"]\ncashier = "card 4111111111111111"\n'))
    assert "411111" not in str(caught.value)


def test_the_configuration_names_the_file_by_an_absolute_path(tmp_path: Path) -> None:
    file = site(tmp_path, '[en."isp.down"]\ncontact = "10000"\n')
    settings = config.parse(Source("config.toml", f'[advice]\nfile = "{file}"\n'.encode()))
    assert advice("isp.down", "en", site=site_of(settings)).contact == "10000"
    assert site_of(config.Config()) == {}
    with pytest.raises(ConfigError) as caught:
        config.parse(Source("config.toml", b'[advice]\nfile = "advice.toml"\n'))
    assert str(caught.value) == (
        'config.toml: advice.file: expected an absolute path such as "/etc/posagent/advice.toml", got "advice.toml"'
    )


KEYS = st.sampled_from(["title", "explanation", "cashier", "technician", "warnings", "works", "contact", "zzz"])
WORDS = st.text('{}subject: !银行\n\t\x1b"\\', max_size=12) | st.sampled_from(["{subject}", "{{x}}", "{subject"])
VALUES = WORDS | st.lists(WORDS, max_size=4) | st.integers() | st.booleans()


def toml(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(character):08X}" for character in value) + '"'
    return str(value).lower()


@given(st.dictionaries(KEYS, VALUES, max_size=4), st.sampled_from([*LANGUAGES, "fr"]))
def test_whatever_a_site_writes_is_either_refused_or_can_be_shown(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, object], language: Language
) -> None:
    lines = "\n".join(f"{key} = {toml(value)}" for key, value in table.items())
    file = site(tmp_path_factory.getbasetemp(), f'[{language}."acquirer.silent"]\n{lines}\n')
    try:
        own = load_site(file)
    except ConfigError as error:
        assert error.problems
        return
    for facts in ({}, {"subject": "h:443"}):
        shown = advice("acquirer.silent", language, facts, own)
        for key, value in table.items():
            if isinstance(value, str):
                filled = value.replace("{{", "\0").replace("}}", "\1")
                filled = filled.replace(
                    "{subject}", facts.get("subject") or SHIPPED[language]["acquirer.silent"]["subject"]
                )
                assert getattr(shown, key) == filled.replace("\0", "{").replace("\1", "}")


def test_the_words_are_read_when_somebody_is_advised_and_not_before() -> None:
    said = "import sys, agent.advice; print('tomllib' in sys.modules, 'agent.config.read' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True, check=True, cwd=ROOT, timeout=30)
    assert run.stdout.split() == ["False", "False"]
