"""Spark's masters: which there are, whether one answers, and whether it has anybody to do the work.

Spark itself waits a minute for a master that is not there, and for ever for workers.
"""

import os
import re
import socket
import time
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from tuti.run import UserError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FORM = re.compile(r"local(\[(\*|[1-9]\d*)(,\d+)?\])?|spark://[^\s,]+:\d+(,[^\s,]+:\d+)*|yarn|k8s://\S+")
PATIENCE = {"spark": 45, "yarn": 180, "k8s": 180}
"""Seconds until the first executor must have come; containers have to be made first"""


def check_master(master: str) -> None:
    """Refuses what is no master, or does not answer, before a JVM is started."""
    if not FORM.fullmatch(master):
        forms = "local, local[N], local[*], spark://HOST:PORT, yarn, k8s://HOST:PORT"
        hint = "--master 'local[2]', or leave it out for the engine on this machine"
        raise UserError(f"{master!r} is no master of Spark: {forms}", hint)
    if master == "yarn" and not (os.environ.get("HADOOP_CONF_DIR") or os.environ.get("YARN_CONF_DIR")):
        what = "master yarn: neither HADOOP_CONF_DIR nor YARN_CONF_DIR says where it is"
        raise UserError(what, hint="point one at the folder of yarn-site.xml")
    kind, _, rest = master.partition("://")
    places = [urlsplit(f"//{place.rpartition('//')[2]}") for place in rest.split(",") if rest]
    refused: list[str] = []
    for place in places:
        try:
            socket.create_connection((place.hostname or "", place.port or 443), timeout=3).close()
            return
        except (OSError, ValueError) as error:  # ValueError: a port above 65535
            refused.append(f"{place.netloc}: {error}")
    if refused:
        hint = "start it, or correct HOST:PORT" + ("; 7077 is Spark's own" if kind == "spark" else "")
        raise UserError(f"no master answers at {master} ({'; '.join(refused)})", hint)


def await_executors(spark: "SparkSession", master: str) -> None:
    """Returns when the first executor has come; refuses a cluster from which none comes."""
    context = cast(Any, spark.sparkContext)
    seconds = PATIENCE.get(master.partition(":")[0], 0)
    if not seconds or context.getConf().get("spark.dynamicAllocation.enabled") == "true":
        return
    until = time.monotonic() + seconds
    while context._jsc.sc().getExecutorMemoryStatus().size() < 2:  # the driver is in it too
        if time.monotonic() > until:
            each = context.getConf().get("spark.executor.memory")
            spark.stop()
            what = f"{master} gave no executor within {seconds} s: no worker has a core and {each} free"
            hint = "start workers, or ask for less (--memory); if executors came and went, see their logs"
            raise UserError(what, hint)
        time.sleep(0.2)
