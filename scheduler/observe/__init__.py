"""What running runs do and print: the status of Jobs and pods, progress, logs. Changes nothing."""
