"""Events of OpenLineage against the classes that its project generates from the published schemas.

The package `openlineage-python` has no schema files; its classes have their names, versions, keys,
formats and types.
"""

import types
import typing
from typing import Any

import attr
from openlineage.client import event_v2, facet_v2
from openlineage.client.serde import Serde

OF = facet_v2
FACETS = {
    "jobType": OF.job_type_job.JobTypeJobFacet,
    "processing_engine": OF.processing_engine_run.ProcessingEngineRunFacet,
    "nominalTime": OF.nominal_time_run.NominalTimeRunFacet,
    "errorMessage": OF.error_message_run.ErrorMessageRunFacet,
    "inputStatistics": OF.input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
    "outputStatistics": OF.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "dataQualityAssertions": OF.data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet,
}
ASSERTION = OF.data_quality_assertions_dataset.Assertion


def assert_published(event: dict[str, Any]) -> None:
    """Assert that an event is one of the published schemas: keys, types, formats and versions."""
    own = {name: value for name, value in event.items() if name != "schemaURL"}
    made = event_v2.RunEvent(
        **own
        | {
            "eventType": event_v2.RunState(event["eventType"]),
            "run": made_of(event_v2.Run, event["run"]),
            "job": made_of(event_v2.Job, event["job"]),
            "inputs": [made_of(event_v2.InputDataset, one) for one in event["inputs"]],
            "outputs": [made_of(event_v2.OutputDataset, one) for one in event["outputs"]],
        }
    )
    assert without_gaps(Serde.to_dict(made)) == without_gaps(event)


def made_of(cls: Any, value: dict[str, Any]) -> Any:
    facets = {
        name: {key: facet(key, one) for key, one in value[name].items()}
        for name in ("facets", "inputFacets", "outputFacets")
        if name in value
    }
    return checked(cls(**value | facets))


def facet(name: str, value: dict[str, Any]) -> Any:
    own = {key: one for key, one in value.items() if not key.startswith("_")}
    if name == "dataQualityAssertions":
        own["assertions"] = [checked(ASSERTION(**one)) for one in own["assertions"]]
    return checked(FACETS[name](**own, producer=value["_producer"]))


def checked(made: Any) -> Any:
    """Return what was made, whose attributes must be of the types that its class declares."""
    hints = typing.get_type_hints(type(made))
    for one in attr.fields(type(made)):
        value = getattr(made, one.name)
        assert is_of(value, hints[one.name]), (one.name, value)
    return made


def is_of(value: Any, hint: Any) -> bool:
    if isinstance(hint, types.UnionType):
        return any(is_of(value, one) for one in typing.get_args(hint))
    kind = typing.get_origin(hint) or hint
    if kind is int and isinstance(value, bool):
        return False
    return hint is Any or isinstance(value, kind)


def without_gaps(value: Any) -> Any:
    """Return an event without what is empty, which the client leaves out or fills in."""
    if isinstance(value, dict):
        own = {name: without_gaps(one) for name, one in value.items()}
        return {name: one for name, one in own.items() if one not in ({}, [], None)}
    if isinstance(value, list):
        return [without_gaps(one) for one in value]
    return value
