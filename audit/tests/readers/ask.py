"""Asks each reader for the same figures of the exported sheets; the expected ones come from the CSV files, by hand."""

import csv
import sys
from datetime import datetime, timezone
from pathlib import Path

import chdb
import datafusion
import duckdb
import pandas
import polars
import pyarrow
import pyarrow.parquet

rows = Path(sys.argv[1])
payouts = str(rows / "parquet/payouts.parquet")


def by_hand():
    with open(rows / "csv/payouts.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines, "no payouts were exported: take a longer session"
    first = min(datetime.fromisoformat(line["block_time"]) for line in lines)
    total = sum(int(line["net"]) for line in lines)
    profit = sum(int(line["credit"]) - int(line["wager"]) for line in lines)
    return total, profit, first


def moment(value):
    """The moment in UTC, whatever type a reader has for it."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if hasattr(value, "to_pydatetime"):
        value = value.to_pydatetime()
    return value.astimezone(timezone.utc) if value.tzinfo else value.replace(tzinfo=timezone.utc)


QUERY = "SELECT sum(net), sum(credit - wager), min(block_time) FROM "


def ask_duckdb():
    return duckdb.sql(f"{QUERY} '{payouts}'").fetchall()[0]


def ask_polars():
    frame = polars.scan_parquet(payouts)
    net, credit = polars.col("net"), polars.col("credit") - polars.col("wager")
    return frame.select(net.sum(), credit.sum().alias("profit"), polars.col("block_time").min()).collect().row(0)


def ask_pandas():
    frame = pandas.read_parquet(payouts)
    return frame["net"].sum(), (frame["credit"] - frame["wager"]).sum(), frame["block_time"].min()


def ask_datafusion():
    context = datafusion.SessionContext()
    context.register_parquet("payouts", payouts)
    columns = context.sql(QUERY + "payouts").to_pydict()
    return [column[0] for column in columns.values()]


def ask_clickhouse():
    text = chdb.query(f"SET session_timezone = 'UTC'; {QUERY} file('{payouts}', Parquet) FORMAT TSV").bytes().decode()
    total, profit, first = text.strip().split("\t")
    return int(total), int(profit), first


expected = by_hand()
bad = 0
for name, version, ask in [
    ("duckdb", duckdb.__version__, ask_duckdb),
    ("polars", polars.__version__, ask_polars),
    ("pandas", pandas.__version__, ask_pandas),
    ("datafusion", datafusion.__version__, ask_datafusion),
    ("clickhouse (chdb)", chdb.__version__, ask_clickhouse),
]:
    total, profit, first = ask()
    found = (int(total), int(profit), moment(first))
    verdict = "same" if found == expected else f"DIFFERS from {expected}"
    bad += found != expected
    print(f"{name} {version}: sum(net) {found[0]}, sum(credit - wager) {found[1]}, first {found[2].isoformat()}: {verdict}")

about = pyarrow.parquet.read_metadata(payouts).metadata
with open(rows / "csv/session.csv", newline="") as file:
    session = next(csv.DictReader(file))
for name, value in session.items():
    if about[f"bitcraps.{name}".encode()].decode() != value:
        bad += 1
        print(f"pyarrow {pyarrow.__version__}: the file says another {name} of itself")
print(f"pyarrow {pyarrow.__version__}: the file says chain {session['chain'][:16]}…, heights to {session['last_height']}")
sys.exit(1 if bad else 0)
