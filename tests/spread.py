"""Give files of tests to the processes of pytest-xdist, also after one of them has died.

xdist 3.8 gives the test in which a process died to the next one as well, which may die of it in turn. And it
ends the whole run, without a summary, where a process that starts later collects other tests than the first
ones did, as it does when somebody edits a file meanwhile.
"""

from collections.abc import Sequence

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController


class Spread(LoadFileScheduling):  # type: ignore[misc]
    """`--dist loadfile` that a dead process does not end."""

    def remove_node(self, node: WorkerController) -> str | None:
        """Take back what a process had still to do, but not the test that it died in; returns its name."""
        files = self.assigned_work[node]
        died_in = next((test for tests in files.values() for test, done in tests.items() if not done), None)
        for tests in files.values():
            if died_in in tests:
                tests[died_in] = True
        self.assigned_work[node] = {name: tests for name, tests in files.items() if not all(tests.values())}
        super().remove_node(node)
        return died_in

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Note what a process has collected; one that comes later needs just the tests that are left."""
        if not self.collection_is_completed:
            super().add_node_collection(node, collection)
            return
        left = {test for tests in self.workqueue.values() for test, done in tests.items() if not done}
        if left <= set(collection):
            self.registered_collections[node] = list(collection)
        else:
            node.shutdown()

    def _reschedule(self, node: WorkerController) -> None:
        """Give a process its next file, once it has told what it has collected."""
        if node in self.registered_collections:
            super()._reschedule(node)
            super()._reschedule(node)  # a process starts a test once it knows the next: one may not be enough
