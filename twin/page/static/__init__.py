"""The files of the page, as browsers get them: plain modules, without a build."""
