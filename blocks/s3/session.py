"""Make an S3 client from keys that are given, and from nothing else on this machine, unless that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.config import Config
from botocore.exceptions import NoCredentialsError
from botocore.loaders import Loader
from botocore.session import Session
from botocore.utils import parse_timestamp
from pydantic import SecretStr

# A profile, or a configuration file, is another tool's: it could name keys, regions and endpoints of its own, or no profile
# at all. What remains is AWS_CA_BUNDLE.
_UNREAD = dict.fromkeys(("profile", "config_file", "credentials_file"), (None, None, None, None))
# The description of S3's interface takes nine tenths of the time to make a client; all clients share it. Descriptions in
# the home directory are another tool's, too.
_loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
# Credentials that the SDK found for clients of this process.
_found: list[Any] = []


def client_of(
    key_id: str, secret: SecretStr, token: SecretStr | None, region: str, config: dict[str, Any], **parameters: Any
) -> Any:
    """Return botocore's client, which is untyped, as boto3 would: whose own import takes longer than a listing."""
    given = {
        "aws_access_key_id": key_id,
        "aws_secret_access_key": secret.get_secret_value(),
        "aws_session_token": token.get_secret_value() if token else None,
    }
    return _client(Session(session_vars=_UNREAD), region, config, {**given, **parameters})


def client_of_sdk(region: str, config: dict[str, Any], **parameters: Any) -> Any:
    """Return a client with the keys that the SDK finds: in variables, a profile, by web identity, or of the machine's role.

    Region and address stay ours, whatever a profile says.
    """
    session = Session()
    found = session.get_credentials()
    if found is None:
        raise NoCredentialsError
    _found.append(found)
    return _client(session, region, config, parameters)


def found_secrets() -> Iterator[str]:
    """Yield what is secret in the keys that the SDK found for this process, as they are now; asks nobody for new ones."""
    for keys in tuple(_found):
        for name in ("_secret_key", "_token", "secret_key", "token"):
            # Those that expire have a property of this name, which would fetch new ones.
            value = vars(keys).get(name)
            if isinstance(value, str) and value:
                yield value


def _client(session: Any, region: str, config: dict[str, Any], parameters: dict[str, Any]) -> Any:
    session.register_component("data_loader", _loader)
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=moment_in)
    return session.create_client("s3", region_name=region, config=Config(**config), **parameters)


def moment_in(text: str) -> datetime:
    """Parse a time in a response: with botocore's own parser, times take more than half of what reading a listing takes."""
    try:
        found = datetime.fromisoformat(text) if text[10:11] == "T" else parsedate_to_datetime(text)
    except (ValueError, TypeError):
        found = parse_timestamp(text)
    return found
