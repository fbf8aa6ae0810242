"""Run by Airflow's Python: loads one DAG file and runs its tasks for a day, here, one after the other.

Prints what each task said last, or, at the first that fails, whether its retry policy would try again.
"""

import json
import sys

from airflow.dag_processing.dagbag import DagBag
from airflow.sdk.exceptions import AirflowException

file, day = sys.argv[1:]
bag = DagBag(file, collect_dags=False)
bag.process_file(file)
assert bag.import_errors == {}, bag.import_errors
[dag] = bag.dags.values()
said = {}
for task in dag.topological_sort():
    ready = task.prepare_for_execution()
    ready.render_template_fields({"ds": day})
    try:
        said[task.task_id] = ready.execute({})
    except AirflowException as error:
        decision = task.retry_policy.evaluate(error, 1, task.retries)
        said[task.task_id] = decision.action.value
        break
print(json.dumps(said))
