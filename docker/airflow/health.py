"""Exit 0 when the API server says that a component is healthy: `health.py URL COMPONENT`."""

import json
import sys
import urllib.request

url, component = sys.argv[1:]
with urllib.request.urlopen(url, timeout=8) as answer:
    sys.exit(json.load(answer)[component]["status"] != "healthy")
