#!/usr/bin/env bash
# Asks readers of other people for sums of exported sheets, and compares them with a plain reading of the CSV files.
#
#   bitcraps export SESSION --csv rows/csv --parquet rows/parquet
#   audit/tests/readers/run.sh rows
#
# Needs Python 3, and Node for the reader that browsers use. The pinned readers are installed in a temporary folder, which is
# removed at the end. Ends with 1 where a reader has another sum, another moment or another chain.
set -euo pipefail
rows=$(cd "${1:?the folder that has csv and parquet}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --disable-pip-version-check \
    duckdb==2.0.1 polars==2.1.0 pandas==3.1.1 pyarrow==26.0.1 datafusion==55.0.0 chdb==4.4.0
"$work/python/bin/python" "$here/ask.py" "$rows"

if command -v npm >/dev/null; then
    cp "$here/ask.mjs" "$work/"
    (cd "$work" && npm install --silent --no-audit --no-fund hyparquet@1.33.0 >/dev/null && node ask.mjs "$rows")
else
    echo "hyparquet: not asked, there is no npm here"
fi
