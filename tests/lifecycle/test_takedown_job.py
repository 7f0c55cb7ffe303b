"""The job ``takedown``, as its form in the UI starts it."""

from __future__ import annotations

from inferencebench_pipeline.hub.takedowns.register import load_takedowns


def test_the_job_records_the_request_and_shows_what_was_done(world):
    asked = {"target": "nobody/gone", "reason": "not wanted", "requested_by": "its author"}
    result = world.definitions.resolve_job_def("takedown").execute_in_process(
        instance=world.instance,
        run_config={"ops": {"remove_links": {"config": asked}}},
        raise_on_error=False,
    )
    assert result.success
    done = load_takedowns(world.settings.store).of("nobody/gone")
    assert done is not None
    assert (done.reason, done.requested_by) == ("not wanted", "its author")
    assert done.carried_out_at is not None
    (output,) = (event for event in result.all_events if event.is_successful_output)
    shown = output.step_output_data.metadata["outcome"].value
    assert "nobody/gone: not on the Hub" in shown


def test_a_target_that_is_none_fails_with_the_field_named(world):
    asked = {"target": "a b", "reason": "x", "requested_by": "y"}
    result = world.definitions.resolve_job_def("takedown").execute_in_process(
        instance=world.instance,
        run_config={"ops": {"remove_links": {"config": asked}}},
        raise_on_error=False,
    )
    assert not result.success
    (failure,) = (event for event in result.all_events if event.is_step_failure)
    data = failure.step_failure_data
    assert data.user_failure_data is not None
    assert "(got 'a b')" in (data.user_failure_data.description or "")
