"""Delivery under faults, the short form of `python tests/fault_driver.py`: its table is printed at the end.

What breaks in systems like this one, read in their code and in what their users report, and the test that
sees to it that it does not break here:

Read in code
 1 unsigned requests are taken
     test_platform_slack_http::test_what_slack_did_not_sign_now_is_refused
 2 retries are answered again
     test_platform_slack_events::test_a_retry_of_an_event_that_never_came_is_taken
   and an event that came is counted
     test_platform_slack_http::test_a_signed_body_in_the_window_is_taken_and_its_replay_is_not
 3 threads and forum posts raise
     test_platform_discord_listening::test_direct_messages_mentions_replies_and_forum_posts_are_heard
 4 text after a second mention is lost
     test_platform_discord_listening::test_mentions_of_the_bot_are_taken_out_and_nothing_else
 5 an attachment bypasses the filter
     test_intake::test_a_sensitive_value_is_replaced_in_text_and_attachment
 6 a mention is answered twice
     test_platform_slack_events::test_both_events_of_a_mention_are_claimed_by_the_real_inbox
   or acknowledged too late
     test_platform_slack_events::test_an_event_is_acknowledged_only_when_it_is_stored
 7 text beyond 2,000 is dropped
     test_split::test_nothing_but_white_space_is_lost
 8 buttons die at a restart
     test_platform_discord_sender::test_feedback_and_stop_work_after_a_restart
   and memory with each message
     test_worker::test_messages_of_a_conversation_are_answered_in_order_and_see_the_earlier_turns
 9 errors are shown raw
     test_commands::test_a_function_that_raises_is_told_without_its_insides
10 card numbers by shape alone
     test_filter::test_sensitive_values_are_found_exactly
   and orders taken for cards
     test_filter::test_order_numbers_dates_and_prices_are_left_alone

Reported by users
 1 every retry is answered
     test_faults::test_it_holds[slack-events]
 2 the SDK posts twice
     test_slack_sending_once::test_a_post_whose_answer_was_lost_is_found_by_its_metadata
   whatever fails
     test_faults::test_it_holds[faults-slack]
 3 RESUME brings events again
     test_platform_discord_gateway::test_events_that_a_resume_brings_again_are_heard_once
 4 mention and message race
     test_platform_slack_events::test_a_mention_comes_as_two_events_and_is_one_message
 5 claimed, then lost
     test_inbox::test_a_message_that_is_refused_for_one_claim_makes_no_other_claim
 6 a lock expires during an answer
     test_partitions::test_partitions_with_messages_in_hand_are_not_given_back
   or its owner sleeps
     test_faults::test_it_holds[pauses-slack]
 7 a gap in the connection
     test_platform_discord_gateway::test_after_an_invalid_session_channels_are_read_back_in_order
 8 a socket looks alive and is dead
     test_platform_slack_socket::test_a_socket_that_looks_alive_and_is_dead_is_replaced
   on Discord, too
     test_platform_discord_gateway::test_a_connection_that_says_nothing_any_more_is_made_again
 9 a stream dies after five minutes
     test_slack_sending::test_a_stream_that_dies_leaves_nothing_out
10 a fence is cut
     test_split::test_every_part_closes_the_fences_that_it_opens
11 a trimmed history is written back
     test_history::test_nothing_is_ever_rewritten
12 a cut leaves half an exchange
     test_fitting::test_an_answer_never_stays_without_its_question
13 one bad plugin breaks the others
     test_commands::test_broken_files_are_named_and_stop_no_good_one
14 the bot talks over people
     test_handover::test_the_bot_keeps_out_of_what_people_see_to
15 conversations mix
     test_message::test_parts_with_colons_do_not_make_two_conversations_one
   or lose their thread
     test_platform_slack_events::test_a_thread_that_the_history_has_goes_on
"""

import ast
import re
from pathlib import Path

import pytest
from fault_driver import CHECKS, run_check
from fault_table import SHORT

TESTS = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def table(request):
    """Rows of all checks, printed when the last one is done."""
    rows = []
    yield rows
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        reporter.ensure_newline()
        for row in rows:
            reporter.write_line(str(row))


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Where records stay; a socket's path may not be long."""
    return tmp_path_factory.mktemp("faults")


@pytest.mark.parametrize("name", CHECKS)
def test_it_holds(name, records, table):
    rows = run_check(name, SHORT, records)
    table += rows
    failed = [str(row) for row in rows if not row.is_passed]
    assert not failed, f"{failed}; see {records / name}"


def test_every_line_of_the_table_names_a_test_that_exists():
    named = re.findall(r"(test_\w+)::(test_\w+)(?:\[([\w-]+)\])?", __doc__)
    assert len(named) >= 25
    for file, test, case in named:
        tree = ast.parse((TESTS / f"{file}.py").read_text())
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        assert test in {node.name for node in ast.walk(tree) if isinstance(node, functions)}, (
            f"{file}::{test}"
        )
        assert not case or case in CHECKS
