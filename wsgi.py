"""What gunicorn serves: gunicorn wsgi:app.

ATTRITION_CONFIG names another config; with ATTRITION_PRACTICE=1 it serves what practice runs wrote.
"""

import os
import sys

from app import create_app
from attrition import config, watching

_config = config.load(practice=os.environ.get("ATTRITION_PRACTICE") == "1")
app = create_app(_config, watching.teller(_config.settings.api.log, sys.stdout.fileno()))
