"""What gunicorn serves: gunicorn wsgi:app.

ATTRITION_CONFIG names another config; with ATTRITION_PRACTICE=1 it serves what practice runs wrote.
"""

import os

from app import create_app
from attrition import config

app = create_app(config.load(practice=os.environ.get("ATTRITION_PRACTICE") == "1"))
