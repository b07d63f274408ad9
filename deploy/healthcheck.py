"""Does the server in this container answer? Exit status 0 if it does. Asks for a name that it knows."""

import http.client
import os
import sys

PORT = int(os.environ.get("PORT", "8000"))
NAMES = [name.strip() for name in os.environ.get("ALLOWED_HOSTS", "").split(",") if name.strip(" .*")]


def main() -> int:
    name = NAMES[0].lstrip(".") if NAMES else "localhost"
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=4)
    try:
        connection.request("GET", "/healthz", headers={"Host": name})
        return 0 if connection.getresponse().status == http.HTTPStatus.OK else 1
    except OSError:
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
