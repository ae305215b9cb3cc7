>> {"id":1,"jsonrpc":"2.0","method":"eth_getBlockByNumber","params":["0x4",false]}
<< {"id":1,"jsonrpc":"2.0","result":null}
