"""What an expression of crontab or Airflow means there, what to type here, and how the two differ: values in, values out."""
