"""What the receiver took in, on its way into a database: imported, and then taken out of the folder."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from fedcohort.errors import StoreError
from fedcohort.sources.dicom.options import DicomOptions
from fedcohort.sources.dicom.source import dicom_source
from fedcohort.sources.importer.batch import Batch, Part, Source
from fedcohort.storage.inbox_folder import InboxFolder


class Inbox:
    """Received images, of which refused ones are kept aside for a person to look at."""

    def __init__(self, place: InboxFolder, options: DicomOptions) -> None:
        self._place, self._folder, self._options = place, place.folder, options
        self._refused: set[str] = set()
        self._read: set[str] = set()

    def empty(self, import_all: Callable[[Source], object]) -> int:
        """Import what is there, and take it out.

        Args:
            import_all: imports a source, durably, before it returns.
        Returns:
            how many files are done with.
        Raises:
            StoreError: a file cannot be moved.
        """
        if not any(path.suffix == ".dcm" for path in self._folder.iterdir()):
            return 0
        self._refused.clear()
        self._read.clear()
        source = dicom_source(self._folder, self._options)
        import_all(replace(source, parts=self._watched(source)))
        try:
            for name in self._read:
                self._take_out(name)
            self._place.settle()
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror}; make the folder writable") from error
        return len(self._read)

    def _watched(self, source: Source) -> Iterator[Part]:
        for part in source.parts:
            if part.name.endswith(".dcm"):  # what is being written has another ending
                yield replace(part, batches=self._noting(part))
                self._read.add(part.name)

    def _noting(self, part: Part) -> Callable[[int], Iterator[Batch]]:
        def batches(done: int) -> Iterator[Batch]:
            for batch in part.batches(done):
                if batch.refusals:
                    self._refused.add(part.name)
                yield batch

        return batches

    def _take_out(self, name: str) -> None:
        path = self._folder / name
        if name in self._refused:
            self._place.refuse(path)
        else:
            path.unlink()
