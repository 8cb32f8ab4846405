"""After the tests: the list of the wrong twins, and which test rejects which."""


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    calls = [report for report in reports if getattr(report, "when", "") == "call" and "[twin: " in report.nodeid]
    if calls:
        terminalreporter.section("wrong twins")
    for report in sorted(calls, key=lambda report: report.nodeid):
        name = report.nodeid.partition("[twin: ")[2].removesuffix("]")
        rejected_by = dict(report.user_properties).get("rejected_by")
        terminalreporter.line(f"{name}: " + (f"rejected by {rejected_by}" if rejected_by else "SURVIVED"))
