"""The Standard's nouns as plain values: identifiers, headers, geometry, volumes. No files, no network."""
