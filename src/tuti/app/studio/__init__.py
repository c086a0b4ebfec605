"""Studio, the web page of the house: rooms, runs, forms, chat. Mounted on the app that serves the API."""
