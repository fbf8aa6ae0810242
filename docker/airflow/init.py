"""Prepares Airflow's database: schema, admin user, pool. Run before each start, so it may find all done.

Not the command line's `airflow users create --password …`: a process list would show the password.
"""

import os
import subprocess

subprocess.run(["airflow", "db", "migrate"], check=True)

from airflow.models.pool import Pool  # noqa: E402 - needs the tables made above
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder  # noqa: E402

POOL = "source"

name, password = os.environ["AIRFLOW_ADMIN_USER"], os.environ["AIRFLOW_ADMIN_PASSWORD"]
with get_application_builder() as app:
    users = app.sm
    if user := users.find_user(username=name):
        users.reset_password(user.id, password)
    else:
        role = users.find_role("Admin")
        users.add_user(name, name, "", f"{name}@localhost", role, password=password)

Pool.create_or_update_pool(
    POOL,
    slots=int(os.environ["SOURCE_POOL_SLOTS"]),
    description="Tasks that read the source database at the same time",
    include_deferred=False,
)
print(f"admin user {name} and pool {POOL} are there")
