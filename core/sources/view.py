"""Another source seen through something that changes part of it; what is not changed is the whole model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.formats.gguf_layout import KeyValue
from core.sources.base import Source, SourceTensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ViewSource(Source):
    """A view of `whole`, which it closes when it is closed itself."""

    def __init__(self, whole: Source) -> None:
        self._whole = whole
        self.path, self.format, self.name = whole.path, whole.format, whole.name
        self.architecture, self.hyper, self.quantization = whole.architecture, whole.hyper, whole.quantization
        self.files, self.file_bytes, self.tensors = whole.files, whole.file_bytes, whole.tensors

    @property
    def metadata(self) -> tuple[KeyValue, ...]:
        """The whole model's."""
        return self._whole.metadata

    @property
    def header_rows(self) -> tuple[KeyValue, ...]:
        """What the whole model's files say."""
        return self._whole.header_rows

    @property
    def warnings(self) -> tuple[str, ...]:
        """Those of the whole model."""
        return self._whole.warnings

    @property
    def origin(self) -> tuple[Any, ...]:
        """The whole model's files."""
        return self._whole.origin

    @property
    def license(self) -> str:
        """The whole model's."""
        return self._whole.license

    @property
    def has_chat_template(self) -> bool:
        """Whether the whole model brings one."""
        return self._whole.has_chat_template

    def original(self, tensor: SourceTensor) -> SourceTensor:
        """The tensor of the whole model that a tensor of the view is."""
        return tensor

    def raw(self, tensor: SourceTensor, first_row: int = 0, n_rows: int | None = None) -> NDArray[np.uint8]:
        """Rows as the whole model stores them: (n_rows, row_bytes). Raises ReadFailed, TruncatedFile."""
        return self._whole.raw(self.original(tensor), first_row, n_rows)

    def release(self, tensor: SourceTensor) -> None:
        """Says that `tensor` will not be read again soon."""
        self._whole.release(self.original(tensor))

    def close(self) -> None:
        """Closes the whole model."""
        self._whole.close()
