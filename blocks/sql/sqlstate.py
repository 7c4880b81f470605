"""Names for SQLSTATE codes, grouped by how we react to them.

A code has five characters, of which the first two are its class: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

DATA_EXCEPTION = "22000"
INVALID_DATETIME_FORMAT = "22007"
DATETIME_OVERFLOW = "22008"
INVALID_PARAMETER_VALUE = "22023"
INVALID_TEXT_REPRESENTATION = "22P02"
FOREIGN_KEY_VIOLATION = "23503"
UNIQUE_VIOLATION = "23505"
CHECK_VIOLATION = "23514"
EXCLUSION_VIOLATION = "23P01"
INVALID_TRANSACTION_STATE = "25000"
INVALID_SCHEMA_NAME = "3F000"
INSUFFICIENT_PRIVILEGE = "42501"
SYNTAX_ERROR = "42601"
UNDEFINED_COLUMN = "42703"
UNDEFINED_OBJECT = "42704"
DATATYPE_MISMATCH = "42804"
WRONG_OBJECT_TYPE = "42809"
UNDEFINED_FUNCTION = "42883"
UNDEFINED_TABLE = "42P01"
UNDEFINED_PARAMETER = "42P02"
DUPLICATE_TABLE = "42P07"
INVALID_FUNCTION_DEFINITION = "42P13"
INVALID_OBJECT_DEFINITION = "42P17"
DISK_FULL = "53100"
OUT_OF_MEMORY = "53200"
TOO_MANY_CONNECTIONS = "53300"
OBJECT_NOT_IN_PREREQUISITE_STATE = "55000"
OBJECT_IN_USE = "55006"
LOCK_NOT_AVAILABLE = "55P03"
ADMIN_SHUTDOWN = "57P01"
CRASH_SHUTDOWN = "57P02"
CANNOT_CONNECT_NOW = "57P03"
UNDEFINED_FILE = "58P01"
FEATURE_NOT_SUPPORTED = "0A000"
RAISE_EXCEPTION = "P0001"
INTERNAL_ERROR = "XX000"

CLASS_CONNECTION = "08"
CLASS_DATA = "22"
CLASS_INTEGRITY = "23"
CLASS_LIMIT = "54"

# Groups: each is an argument for `str.startswith`, so it can contain whole classes.
CONNECTION_LOST = (CLASS_CONNECTION, ADMIN_SHUTDOWN, CRASH_SHUTDOWN, CANNOT_CONNECT_NOW)
MAY_PASS = (TOO_MANY_CONNECTIONS, *CONNECTION_LOST)
# With these codes a server can announce why it is going away.
LAST_WORDS = ("53", "57P", "58", "XX")
# The server could not attempt a restore: it lacks connections, privileges, extensions, settings, locales, resources or
# locks, was shut down, or hit an internal error.
COULD_NOT_TRY = (
    CLASS_CONNECTION, FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, "25006", "28", "3D000", "40", INSUFFICIENT_PRIVILEGE,
    "53", CLASS_LIMIT, OBJECT_IN_USE, LOCK_NOT_AVAILABLE, "57", "58", "F0", "XX",
)  # fmt: skip
# A name that the server does not know.
UNKNOWN_NAME = (
    UNDEFINED_FUNCTION, UNDEFINED_TABLE, UNDEFINED_OBJECT, UNDEFINED_COLUMN, UNDEFINED_PARAMETER, INVALID_SCHEMA_NAME,
)  # fmt: skip
# A role, tablespace or option that the server does not have. Match the code: the message is localized.
UNKNOWN_AROUND_A_DATABASE = (UNDEFINED_OBJECT, INVALID_PARAMETER_VALUE)
# What an extension can raise when its library is not preloaded.
NOT_PRELOADED = (
    OBJECT_NOT_IN_PREREQUISITE_STATE, FEATURE_NOT_SUPPORTED, INVALID_PARAMETER_VALUE, UNDEFINED_OBJECT, INTERNAL_ERROR,
)  # fmt: skip
# Errors that can depend on the locale: on sort order and on which characters are letters.
BY_LOCALE = (DATA_EXCEPTION, UNIQUE_VIOLATION, CHECK_VIOLATION, EXCLUSION_VIOLATION, INVALID_OBJECT_DEFINITION)
# Errors of checks and queries that can depend on settings. Not unique violations: an index rarely depends on a setting,
# but is often corrupt.
BY_SETTINGS = (INVALID_DATETIME_FORMAT, DATETIME_OVERFLOW, CHECK_VIOLATION)
# Features that exist in one version of an extension or server but not in another.
BY_VERSION = (
    UNDEFINED_COLUMN, UNDEFINED_OBJECT, UNDEFINED_FUNCTION, UNDEFINED_TABLE, INVALID_FUNCTION_DEFINITION, DATATYPE_MISMATCH,
    WRONG_OBJECT_TYPE,
)  # fmt: skip
