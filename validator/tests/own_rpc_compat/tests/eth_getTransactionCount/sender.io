>> {"id":1,"jsonrpc":"2.0","method":"eth_getTransactionCount","params":["0x1a642f0e3c3af545e7acbd38b07251b3990914f1","latest"]}
<< {"id":1,"jsonrpc":"2.0","result":"0x3"}
