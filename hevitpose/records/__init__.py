"""The result record: its schema, its ids, its store. Torch-free."""

from hevitpose.records.identity import (
    KINDS,
    Difference,
    Kind,
    Run,
    cell_id,
    differences,
    digest,
)
from hevitpose.records.schema import (
    SCHEMA_VERSION,
    Artifact,
    Code,
    Dataset,
    Flops,
    Interval,
    Latency,
    Machine,
    Record,
    Train,
)
from hevitpose.records.store import (
    Problem,
    RecordStore,
    find,
    one_line,
    parse_record,
    whole_id,
)
from hevitpose.records.transfer import (
    ImportReport,
    contradiction,
    export_records,
    import_records,
    promote,
)

__all__ = [
    "KINDS",
    "SCHEMA_VERSION",
    "Artifact",
    "Code",
    "Dataset",
    "Difference",
    "Flops",
    "ImportReport",
    "Interval",
    "Kind",
    "Latency",
    "Machine",
    "Problem",
    "Record",
    "RecordStore",
    "Run",
    "Train",
    "cell_id",
    "contradiction",
    "differences",
    "digest",
    "export_records",
    "find",
    "import_records",
    "one_line",
    "parse_record",
    "promote",
    "whole_id",
]
