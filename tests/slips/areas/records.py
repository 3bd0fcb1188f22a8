"""Slips in what keeps a record sound: checksums, locks, merging, completeness and models that are asked again."""

from slips.plant import Slip

SUMS, MERGE, INCOMPLETE = "records/test_checksums.py", "records/test_merge.py", "bench/test_incomplete.py"
KNOWN, STALE, SURVIVAL = "laws/test_known_models.py", "bench/test_stale_records.py", "cli/test_survival.py"

SLIPS = (
    Slip("a part is read without its checksum", "sparring.records.record:Record.content", "if A and _: raise B", "pass", SUMS),
    Slip("a checksum fits in any cell", "sparring.records.record:_stamp", "A.encode() + _ + B", "B", SUMS),
    Slip("a header is read without its checksum", "sparring.records.record:_check_sum", "if A != _: raise B", "pass", SUMS),
    Slip("missing rows are not noticed", "sparring.records.record:Record.missing", "A or _ != B", "False", INCOMPLETE),
    Slip("a gate is judged on what is there", "sparring.bench.gate:judge_gate", "check_complete(A)", "None", INCOMPLETE),
    Slip("shards forget what others found", "sparring.bench.header:finish", "if A.exists('run.json'): _", "pass", INCOMPLETE),
    Slip("merge follows links", "sparring.records.merge:_refuse_links", "if A.is_symlink(): raise B", "pass", MERGE),
    Slip("merge takes other verdicts", "sparring.records.merge:_check_agree", "if A.any(): _", "pass", MERGE),
    Slip("merge takes other samples", "sparring.records.merge:_check_places", "if A != B: raise C", "pass", MERGE),
    Slip("a model is not asked again", "sparring.aims.case:confirm", "[A for B, A in C if _]", "[]", KNOWN),
    Slip("numbers are not compared", "sparring.aims.case:_same", "A == B", "True", KNOWN),
    Slip("buffers that are not persistent do not count", "sparring.core.fingerprint:weights", "{**A, **B}", "A", STALE),
    Slip("helper modules of a model do not count", "sparring.models.state:_taken", "A[B] = C", "pass", STALE),
    Slip("two runs write at once", "sparring.records.store:Store.locked", "if not _: raise A", "pass", f"{SURVIVAL} -k 'two_runs or share'"),
    Slip("a half-written file stays", "sparring.records.store:Store.write_all", "Path(A).unlink()", "None", f"{SURVIVAL} -k fills_up"),
)
