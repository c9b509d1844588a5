"""Language models behind a server that speaks OpenAI's protocol: what is asked of them, and what is believed."""
