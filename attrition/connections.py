"""A database that config.json names by a variable of the environment: opened, its secrets never shown.

place = connections.address("database", "ATTRITION_DATABASE_URL", os.environ)
engine = place.engine({"connect_timeout": 10})
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attrition.errors import DataError

if TYPE_CHECKING:
    import sqlalchemy as sa

LONGEST_REASON = 300


@dataclass(frozen=True)
class Address:
    """Where a database is, by the URL in `variable`, and what may be told about it."""

    variable: str
    url: "sa.URL" = field(repr=False)

    @property
    def kind(self) -> str:
        return self.url.get_backend_name()

    @property
    def shown(self) -> str:
        return self.url.set(query={}).render_as_string(hide_password=True)

    def engine(self, connect: Mapping[str, Any]) -> "sa.Engine":
        """An engine without a pool; what the URL says goes before `connect`. DataError without a driver."""
        import sqlalchemy as sa

        told = {name: value for name, value in connect.items() if name not in self.url.query}
        try:
            return sa.create_engine(self.url, poolclass=sa.NullPool, connect_args=told, hide_parameters=True)
        except (ImportError, sa.exc.NoSuchModuleError):
            raise DataError(
                f"{self.shown}: no driver for {self.url.drivername} is installed. Correct {self.variable}, "
                "or install the driver that SQLAlchemy names for this database into .venv."
            ) from None
        except (sa.exc.ArgumentError, TypeError, ValueError):
            raise _broken(self.variable) from None

    def reason(self, fault: Exception) -> str:
        """The driver's own words on one line, without a secret of the URL in any spelling."""
        # after its sentence PostgreSQL repeats the line of the query
        words = str(getattr(fault, "orig", None) or fault).split("\nLINE ")[0]
        query = self.url.query
        secrets = [text for key, text in query.items() if "pass" in key.lower() and isinstance(text, str)]
        secrets += [self.url.password] if self.url.password else []
        spellings = {spelling for text in secrets for spelling in (text, quote(text), quote(text, safe=""))}
        for spelling in sorted(spellings, key=len, reverse=True):
            words = words.replace(spelling, "***")
        words = " ".join(words.split())
        return words if len(words) <= LONGEST_REASON else f"{words[:LONGEST_REASON]}..."


def address(section: str, variable: str, environ: Mapping[str, str], may_be_made: bool = False) -> Address:
    """The address in `variable`, which `section`.url_env names, or a DataError that quotes nothing of it.

    A database file must be there, unless it `may_be_made`: then its folder must.
    """
    import sqlalchemy as sa

    text = environ.get(variable, "").strip()
    if not text:
        raise DataError(
            f"{variable}: this environment variable is not set, and {section}.url_env names it. "
            f"Set it to the database's URL, for cron too, or set {section} to null in config.json."
        )
    try:
        # as many services still write it
        url = sa.make_url(re.sub("^postgres:", "postgresql:", text))
    except (sa.exc.ArgumentError, ValueError):
        raise _broken(variable) from None
    if url.host and text.count("@") > 1:
        raise DataError(
            f"{variable}: this URL has more than one @, so that it is not clear where the password "
            "ends. Write each @ that belongs to a name or a password as %40."
        )
    if url.get_backend_name() == "sqlite" and url.database and not url.database.startswith(("file:", ":")):
        _check_file(variable, Path(url.database), may_be_made)
    return Address(variable, url)


def _check_file(variable: str, place: Path, may_be_made: bool) -> None:
    # SQLite would make an empty database of a wrong name
    if not place.is_absolute():
        raise DataError(
            f"{variable}: {place} is relative to wherever a run is started. "
            "Name the file with its whole path, with four slashes: sqlite:////folder/file.db"
        )
    if may_be_made and not place.parent.is_dir():
        raise DataError(f"{place.parent}: there is no such folder. Make it, or correct {variable}.")
    if not may_be_made and not place.is_file():
        raise DataError(f"{place}: there is no such database file. Put it there, or correct {variable}.")


def _broken(variable: str) -> DataError:
    return DataError(
        f"{variable}: this is no URL of a database. Write it as "
        "postgresql://name:password@host/database or sqlite:////folder/file.db"
    )
