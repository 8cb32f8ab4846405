"""What the fault tests count: a table of each fault, how often it was tried, and what was lost."""

import pytest


@pytest.fixture
def tally(record_property):
    """tally(fault, tried, lost): a line of the table at the end. A run that lost anything ends with a failure."""
    return lambda fault, tried, lost: record_property("fault", [fault, int(tried), int(lost)])


def counted(config):
    """The lines of all tests, also of those that other processes ran."""
    outcomes = config.pluginmanager.get_plugin("terminalreporter").stats.values()
    calls = [report for reports in outcomes for report in reports if getattr(report, "when", None) == "call"]
    return [value for report in calls for name, value in report.user_properties if name == "fault"]


def pytest_terminal_summary(terminalreporter, config):
    lines = counted(config)
    if lines:
        width = max(len(fault) for fault, _, _ in lines)
        terminalreporter.section("faults")
        terminalreporter.line(f"{'fault':{width}}  times tried  lost")
        for fault, tried, lost in lines:
            terminalreporter.line(f"{fault:{width}}  {tried:11}  {lost:4}", red=lost > 0)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    is_worker = hasattr(session.config, "workerinput")
    if not is_worker and exitstatus == pytest.ExitCode.OK and any(lost for _, _, lost in counted(session.config)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
