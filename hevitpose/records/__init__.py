"""The result record: its schema, its ids, its store. Torch-free."""

from hevitpose.records.ids import (
    Identity,
    accuracy_id,
    cell_id,
    complexity_id,
    differences,
    digest,
    latency_id,
)
from hevitpose.records.schema import (
    KINDS,
    SCHEMA_VERSION,
    Artifact,
    Code,
    Dataset,
    Flops,
    Interval,
    Kind,
    Latency,
    Machine,
    Record,
    Train,
)
from hevitpose.records.store import (
    Problem,
    RecordStore,
    one_line,
    parse_record,
)
from hevitpose.records.transfer import ImportReport, export_records, import_records, promote

__all__ = [
    "KINDS",
    "SCHEMA_VERSION",
    "Artifact",
    "Code",
    "Dataset",
    "Flops",
    "Identity",
    "ImportReport",
    "Interval",
    "Kind",
    "Latency",
    "Machine",
    "Problem",
    "Record",
    "RecordStore",
    "Train",
    "accuracy_id",
    "cell_id",
    "complexity_id",
    "differences",
    "digest",
    "export_records",
    "import_records",
    "latency_id",
    "one_line",
    "parse_record",
    "promote",
]
