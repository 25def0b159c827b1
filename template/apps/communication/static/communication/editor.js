"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const $ = django.jQuery;

  for (const area of document.querySelectorAll("textarea.summernote-editor")) {
    const editor = $(area);
    editor.summernote({
      lang: area.dataset.language,
      height: 360,
      dialogsInBody: true,
      disableDragAndDrop: true,
      disableLinkTarget: true,
      toolbar: [
        ["style", ["style"]],
        ["font", ["bold", "italic", "underline", "clear"]],
        ["para", ["ul", "ol", "paragraph"]],
        ["insert", ["link", "hr"]],
        ["view", ["undo", "redo", "codeview"]],
      ],
      codeviewFilter: true,
      codeviewIframeFilter: true,
      callbacks: {
        // Summernote would put a pasted image into the text as a data: URL.
        onImageUpload() {},
        onPaste(event) {
          event.preventDefault();
          const text = event.originalEvent.clipboardData.getData("text/plain");
          document.execCommand("insertText", false, text);
        },
      },
    });
    // In the capture phase, before any other listener reads the form.
    area.form.addEventListener("submit", () => { area.value = editor.summernote("code"); }, true);
  }
});
