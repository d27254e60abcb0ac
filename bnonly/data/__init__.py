"""Images in memory: where they come from (`sources`) and how they become batches on the device (`batches`)."""
